"""trackio's page and its store, made from the records of the runs.

These modules run in the environment of images/trackio.lock (`inv trackio`), where sftplay's other
packages have no dependencies: they import the kernel, `tracked` and trackio alone.
"""
