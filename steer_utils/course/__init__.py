"""The course around the notebooks. In the order to read it:

lessons      what every notebook starts with: sizes by preset, the scene, where figures and results go
checks/      the checks of the exercises, one module a lesson
exercises    the lessons with their solutions blanked
predictions  guesses before the answer, drawn against it
quizzes      five questions a lesson, and their pages
slides       slides from the lessons' figures
grade        a class table of what students hand in
doctor       is this machine ready for the course?
"""
