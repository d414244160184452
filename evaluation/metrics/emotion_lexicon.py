"""Emotion words and the group that each is folded to: this project's own table, with all forms written out.

It is made for accounts of clips in English: words that mean something else as often as an emotion (moved, content,
kind, blue, cross) are left out. A group holds what raters use for one another, not what lies near on some wheel of
emotions: anger and irritation are two groups, joy and happiness one.
"""

from __future__ import annotations

GROUPS: dict[str, str] = {
    "neutral": "neutral, neutrality, neutrally, expressionless, emotionless, unemotional, impassive, impassively,"
    " deadpan, no emotion, no obvious emotion, no particular emotion",
    "calm": "calm, calmly, calmness, calmer, composed, composure, peaceful, peacefully, peace of mind, serene,"
    " serenely, serenity, tranquil, tranquility, placid, unruffled, at ease, relaxed, relaxation, laid-back, easygoing",
    "happy": "happy, happily, happiness, happier, happiest, joy, joyful, joyfully, joyous, glad, gladly, gladness,"
    " cheerful, cheerfully, cheerfulness, cheery, delight, delighted, delightedly, delightful, merry, merrily, jolly,"
    " jovial, gleeful, gleefully, glee, pleased, pleasure, in a good mood, good mood, positive mood, overjoyed, elated,"
    " elation, ecstatic, ecstasy, blissful, bliss, jubilant, jubilation, euphoric, euphoria",
    "satisfied": "satisfied, satisfaction, contented, contentedly, contentment, fulfilled, fulfilment, fulfillment,"
    " gratified, gratification",
    "amused": "amused, amusedly, amusement, playful, playfully, playfulness, humorous, humorously, teasing, teasingly,"
    " mischievous, mischievously",
    "excited": "excited, excitedly, excitement, thrilled, exhilarated, exhilaration, enthusiastic, enthusiastically,"
    " enthusiasm, eager, eagerly, eagerness, passionate, passionately, passion, exuberant, exuberance",
    "proud": "proud, proudly, pride, triumphant, triumphantly, triumph, smug, smugly, smugness, complacent,"
    " complacency",
    "confident": "confident, confidently, confidence, self-confident, self-confidence, self-assured, assured,"
    " determined, determinedly, determination, resolute, resolutely, firm resolve",
    "hopeful": "hopeful, hopefulness, optimistic, optimistically, optimism, expectant, expectantly,"
    " anticipation, looking forward, longing, longingly, yearning, yearningly",
    "grateful": "grateful, gratefully, gratitude, thankful, thankfully, thankfulness, appreciative, appreciatively,"
    " appreciation",
    "loving": "loving, lovingly, love, affection, affectionate, affectionately, tender, tenderly, tenderness, fond,"
    " fondly, fondness, caring, adoring, adoration, intimate, intimacy, romantic",
    "friendly": "friendly, friendliness, kindly, kindness, warm-hearted, gentle, gently, gentleness, amiable,"
    " amicable, welcoming, cordial, cordially",
    "compassionate": "compassionate, compassionately, compassion, sympathetic, sympathetically, sympathy, empathetic,"
    " empathetically, empathic, empathy, pity, pitying",
    "admiring": "admiring, admiringly, admiration, respectful, respectfully, awe, awed, in awe, reverent, reverence",
    "relieved": "relieved, relief, reassured, reassurance, unburdened",
    "surprise": "surprise, surprised, surprisedly, surprising, surprisingly, astonished, astonishment, astonishing,"
    " amazed, amazement, startled, shocked, shock, stunned, dumbfounded, taken aback, incredulous,"
    " incredulously, incredulity, disbelief",
    "curious": "curious, curiously, curiosity, interested, interest, intrigued, inquisitive, inquisitively",
    "confused": "confused, confusedly, confusion, puzzled, puzzlement, perplexed, perplexity, bewildered, bewilderment,"
    " baffled, bafflement, at a loss, uncomprehending",
    "doubtful": "doubtful, doubtfully, doubt, doubting, skeptical, skeptically, skepticism, sceptical, sceptically,"
    " scepticism, suspicious, suspiciously, suspicion, distrustful, distrust, mistrust, questioning",
    "hesitant": "hesitant, hesitantly, hesitation, hesitating, uncertain, uncertainly, uncertainty, unsure,"
    " indecisive, indecision, ambivalent, ambivalence",
    "serious": "serious, seriously, seriousness, solemn, solemnly, solemnity, stern, sternly, sternness, grave,"
    " gravely, earnest, earnestly",
    "thoughtful": "thoughtful, thoughtfully, contemplative, contemplation, pensive, pensively, reflective, pondering,"
    " deep in thought",
    "sad": "sad, sadly, sadness, sadder, saddened, unhappy, unhappily, unhappiness, sorrow, sorrowful, sorrowfully,"
    " grief, grieving, grieved, mournful, mournfully, mourning, melancholy, melancholic, gloomy, gloomily, gloom,"
    " heartbroken, heartbreak, miserable, miserably, misery, tearful, tearfully, dejected, dejectedly, dejection,"
    " downcast, downhearted, despondent, despondently, despondency, depressed, depression, crestfallen, woeful,"
    " low-spirited, in low spirits, bad mood, low mood",
    "hurt": "hurt, anguish, anguished, agony, agonized, heartache, suffering, tormented, torment, pained, painful",
    "lonely": "lonely, loneliness, lonesome, isolated, isolation, abandoned",
    "disappointed": "disappointed, disappointedly, disappointment, disappointing, let down, disheartened,"
    " discouraged, discouragement, disillusioned, disillusionment",
    "hopeless": "hopeless, hopelessly, hopelessness, despair, despairing, despairingly, desperate, desperately,"
    " desperation",
    "helpless": "helpless, helplessly, helplessness, powerless, powerlessness, resigned, resignedly, resignation,"
    " at wits end",
    "distressed": "distressed, distress, distressing, upset, troubled, disturbed, agitated, agitation, overwhelmed,"
    " flustered",
    "angry": "angry, angrily, anger, angered, angrier, mad, furious, furiously, fury, rage, raging, enraged, irate,"
    " wrath, wrathful, outraged, outrage, indignant, indignantly, indignation, infuriated, livid, incensed,"
    " rageful, hot-tempered",
    "irritated": "irritated, irritatedly, irritation, irritable, irritably, irritability, annoyed, annoyance, annoying,"
    " impatient, impatiently, impatience, exasperated, exasperation, displeased, displeasure, vexed, vexation,"
    " grumpy, fed up, discontented, discontent, dissatisfied, dissatisfaction, complaining",
    "frustrated": "frustrated, frustratedly, frustration, frustrating, thwarted, defeated",
    "resentful": "resentful, resentfully, resentment, bitter, bitterly, bitterness, grudging, vengeful, aggrieved,"
    " grievance, wronged",
    "hostile": "hostile, hostility, aggressive, aggressively, aggression, hateful, hatred, hate, menacing,"
    " threatening, confrontational, defiant, defiantly, defiance",
    "disgust": "disgust, disgusted, disgustedly, disgusting, revulsion, revolted, repulsed, repulsion, loathing,"
    " loathe, aversion, sickened, nauseated",
    "contempt": "contempt, contemptuous, contemptuously, scorn, scornful, scornfully, disdain, disdainful,"
    " disdainfully, disdainfulness, mocking, mockingly, mockery, sneering, derisive, derision, sarcastic,"
    " sarcastically, sarcasm, dismissive, dismissively, arrogant, arrogantly, arrogance",
    "jealous": "jealous, jealously, jealousy, envious, enviously, envy",
    "worried": "worried, worriedly, worry, worrying, worries, anxious, anxiously, anxiety, nervous, nervously,"
    " nervousness, uneasy, uneasily, uneasiness, unease, apprehensive, apprehensively, apprehension, tense, tension,"
    " concerned, concern, restless, restlessness, on edge, fretful, stressed, ill at ease, jittery, insecure,"
    " insecurity",
    "fear": "fear, fearful, fearfully, fears, fearing, afraid, scared, frightened, fright, terrified, terror,"
    " horrified, horror, panicked, panicky, panic, dread, dreading, alarmed, alarm, timid, timidly,"
    " timidity, intimidated",
    "embarrassed": "embarrassed, embarrassment, embarrassing, awkward, awkwardly, awkwardness, shy, shyly, shyness,"
    " bashful, bashfully, self-conscious, self-consciousness, sheepish, sheepishly",
    "ashamed": "ashamed, shame, shameful, humiliated, humiliation, mortified, mortification",
    "guilty": "guilty, guiltily, guilt, remorse, remorseful, regret, regretful, regretfully, apologetic,"
    " apologetically, repentant, sorry, self-blame",
    "bored": "bored, boredom, boring, uninterested, disinterested, indifferent, indifferently, indifference, apathetic,"
    " apathy, listless, listlessness",
    "tired": "tired, tiredly, tiredness, exhausted, exhaustion, weary, wearily, weariness, fatigued, fatigue, worn out",
    "nostalgic": "nostalgic, nostalgically, nostalgia, wistful, wistfully, reminiscent, sentimental",
    "wary": "wary, warily, wariness, vigilant, vigilance, cautious, cautiously, caution, on guard, alert, guarded,"
    " defensive, defensively",
}
"""By group, its words, separated by commas. A word is in one group."""
