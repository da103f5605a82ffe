"""Human gaze from Atari-HEAD compared with an agent's saliency.

``dataset`` finds the trials of a release, ``trial`` reads one, ``observations`` turns its frames into what an
agent sees and its gaze into fixation maps, ``download`` fetches a release. Nothing is imported here.
"""
