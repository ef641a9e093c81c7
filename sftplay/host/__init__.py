"""The user's machine: starts stages, never loads a model. Kernel plus invoke, docker and rich."""
