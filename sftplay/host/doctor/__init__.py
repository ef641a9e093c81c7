"""`inv doctor`: what this machine has, what it lacks, and what to type. Facts are gathered, judged by pure rules, and shown."""
