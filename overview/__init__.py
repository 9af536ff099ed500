"""The whole main job on one recording, and the one page that shows what came of it.

Replay, check of the ports that are installed, figures: each is a command of its own elsewhere, and
is called here. The page reads what they wrote, and links it.
"""
