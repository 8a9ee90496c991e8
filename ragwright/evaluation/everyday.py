"""Everyday questions and subjects that hardly any FAQ is about, for question sets made without labels; in English."""

from __future__ import annotations

QUESTIONS = (
    "How long should I boil an egg so that the yolk stays runny?",
    "Which wine goes well with grilled mackerel?",
    "How do I get red wine out of a wool carpet?",
    "Why do onions make me cry when I cut them?",
    "What can I bake with overripe bananas?",
    "How much salt belongs in a litre of pasta water?",
    "Can I freeze a lasagne after it was cooked?",
    "Why does my sourdough not rise?",
    "Who painted the ceiling of the Sistine Chapel?",
    "What was the name of Napoleon's horse?",
    "Which planet has the most moons?",
    "How far away is the nearest galaxy?",
    "Why is the sky blue at noon and red at sunset?",
    "What is the capital of Mongolia?",
    "Who wrote the novel about the white whale?",
    "In which year did the Berlin Wall fall?",
    "How tall is Mount Kilimanjaro?",
    "Which river flows through Budapest?",
    "What do hedgehogs eat in winter?",
    "How often should I water a cactus?",
    "Why do cats purr?",
    "Which dog breeds get along with toddlers?",
    "How do I teach a parrot to talk?",
    "When do swallows fly south?",
    "How deep do I plant tulip bulbs?",
    "What can I do against aphids on my roses?",
    "When should an apple tree be pruned?",
    "How do I sharpen a kitchen knife on a whetstone?",
    "What is the offside rule in football?",
    "How many players are there in a rugby team?",
    "How do I return a serve with backspin in table tennis?",
    "Who holds the world record in pole vault?",
    "How long does it take to train for a marathon?",
    "Which muscles does rowing strengthen?",
    "How do I tie a bowline?",
    "What should I wear to a funeral?",
    "How do I fold a paper crane?",
    "Which chords do I need for a twelve-bar blues?",
    "How do I tune a ukulele by ear?",
    "Who composed the opera about the barber from Seville?",
    "How many strings does a harp have?",
    "Why does my bicycle chain squeak?",
    "How do I patch a punctured bicycle tube?",
    "What tyre pressure does a caravan need?",
    "How do I remove rust from a cast-iron pan?",
    "Which glue sticks ceramic to wood?",
    "How do I stop a tap from dripping?",
    "What colour do blue and yellow paint make?",
    "How do I sew on a trouser button?",
    "At what temperature should I wash a woollen jumper?",
    "How do I get chewing gum out of hair?",
    "What helps against hiccups?",
    "How many hours should a newborn sleep?",
    "What is a good birthday present for my grandmother?",
    "Which board games are fun for two?",
    "How do I castle in chess?",
    "What are the odds of rolling three sixes?",
    "Do I need a visa for a holiday in Vietnam?",
    "Where can I see the northern lights in March?",
    "Which ferry goes from Naples to Capri?",
    "What should I pack for a week of hiking in the Alps?",
    "How do I say thank you in Japanese?",
    "Will it snow in Oslo tomorrow?",
    "Tell me a joke about penguins.",
)
"""Questions that an FAQ of a product or an authority does not answer."""

_SUBJECTS = """
trombones sailboats greenhouses beehives origami falconry marzipan lighthouses tapestries snowploughs violins orchards
aquariums chandeliers skateboards wigwams mushrooms kayaks accordions hammocks saddles telescopes tractors vineyards
windmills wheelbarrows xylophones yoghurt zeppelins bagpipes cutlery donkeys embroidery fireworks gargoyles haystacks
icebergs jigsaws kangaroos lanterns mosaics nutmeg ostriches porcelain quilts raincoats sundials tambourines umbrellas
velvet walnuts yodelling zebras pottery crossbows fencing ballet rhubarb stilts toboggans"""
SUBJECTS = tuple(_SUBJECTS.split())
"""Nouns to ask about where an FAQ has something else."""
