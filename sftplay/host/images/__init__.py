"""Images: built, verified, published, pulled, listed and removed.

An image gets its tag only after it has run; what goes into the tag's hash is in
containers/image_names.py.
"""
