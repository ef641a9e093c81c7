"""An export from a trained run to a sealed folder: reference, file, proof, Modelfile, card."""
