"""Seconds and audio tokens, audio files, made sounds, scenes, recordings, data sets, label files."""
