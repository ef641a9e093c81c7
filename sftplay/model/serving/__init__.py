"""An endpoint that speaks OpenAI's chat protocol, in front of the batching decoder.

engine.py owns the models, in one thread; app.py speaks HTTP and never touches a tensor.
"""
