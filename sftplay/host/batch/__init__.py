"""`inv batch`: many datasets and experiments from one file, one after the other or one for each
GPU.

Stages are started as the single tasks start them; what is done already is read from run folders,
not remembered.
"""
