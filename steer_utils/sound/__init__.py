"""Sound without a model: seconds and audio tokens, files of sound, made scenes, recordings, data sets, labels.

In the order to read them:

spans       intervals in seconds, audio tokens, the window where a curve is largest
files       text and tables read strictly, targets checked, files written whole
config_files yaml and json that users write: no key twice, strict values, each mistake in one line
file_parts  what a sound file is taken for: pieces, parts, and the holes between them
mp3         an MP3 walked, frame after frame, so that its length and holes are known
containers  a sound file walked by its kind: Ogg, FLAC and WAV here
decoding    sound files decoded to their real end, a block at a time
measures    its level over time, from where to where it sounds, its mel spectrogram
audio       sound read safely, and cut into stretches that a model hears in one go
masking     a stretch of it taken out, noise or silence in its place
tables      tables as text: aligned columns, and Markdown
synthesis   building blocks of made sounds: onsets, tones, bands, fades
sounds      the fourteen kinds of made sounds
recordings  a folder of recordings with its table, and a bank that cuts events from it
scenes      a track with its events and when each one sounds
scenemaker  scenes drawn from a seed
conditions  scenes that are less kind, by name
labels      what sounds when, as Audacity, DCASE, json and JAMS write it
datasets    published data sets: their licences, and ESC-50's layout
questions   multiple-choice sets: SAKURA and MMAU
downloads   fetching a data set, verified
"""
