"""The rest of `merge`: the proof that merged weights agree, and the merged model's card.

Nothing is published without the proof.
"""
