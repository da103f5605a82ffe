"""Evaluation: whole games of a trained agent under a fixed protocol (Nikulin et al. 2019, section 5).

`job.evaluate` is the job. `settings` holds its options, `pools` the environments; `play` plays one round of
games, and `results` stores finished rounds and summarises them.
"""
