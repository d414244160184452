"""What the people of the synthetic clips say: sentences that tell nothing, and a few that fit one emotion."""

NEUTRAL_SENTENCES: tuple[str, ...] = (
    "I will be there at six.",
    "The meeting is on the second floor.",
    "They moved the table to the window.",
    "He put the keys on the shelf.",
    "We can take the train or the bus.",
    "The letter came this morning.",
    "She left the book at home.",
    "It is the third door on the left.",
    "The shop opens at nine.",
    "You said it was on Monday.",
    "There are four chairs in the room.",
    "I talked to them about it.",
    "He is coming with his brother.",
    "The bag is next to the door.",
    "We had tea in the afternoon.",
    "They painted the wall white.",
    "I read the page again.",
    "The bus stops near the school.",
    "She called me an hour ago.",
    "It takes about ten minutes.",
)

FITTING_SENTENCES: dict[str, tuple[str, ...]] = {
    "neutral": NEUTRAL_SENTENCES[:4],
    "angry": ("Stop doing that right now.", "This is so unfair.", "I am sick of your excuses."),
    "happy": ("This is the best day ever.", "I am so glad you came.", "We won the prize."),
    "sad": ("I miss her so much.", "Everything feels empty now.", "We had to say goodbye."),
    "worried": ("What if something happens to him?", "I am afraid it is getting worse.", "She should be back by now."),
    "surprise": ("I did not expect that at all.", "Wow, is that really you?", "How did you do that?"),
}
