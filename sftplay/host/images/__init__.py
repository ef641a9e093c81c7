"""Images of the stacks: built, verified, listed, published and pulled by the tasks `image.*`."""
