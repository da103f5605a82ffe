"""Evaluation: whole games of a trained agent under a fixed protocol (Nikulin et al. 2019, section 5).

`job.evaluate` is the job; `settings` says what is played, `pools` are the environments, `play` plays one
round of games, `results` keeps the finished ones and sums them up.
"""
