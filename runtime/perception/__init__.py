"""What is seen and heard before the model is asked: a face, speech, a covered lens, words."""
