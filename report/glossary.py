"""The words of a report, each in a sentence or two."""

GLOSSARY = (
    (
        "battle",
        "One prompt, two responses by two models, and one person's vote: A wins, B wins, or a tie.",
    ),
    (
        "log loss",
        "Minus the mean logarithm (natural, so in nats) of the probability that was given to what came true. Lower "
        "is better; equal probabilities have 1.0986.",
    ),
    (
        "prior",
        "The vote frequencies, the same for every battle: what one can say without looking.",
    ),
    (
        "base, base model",
        "A model that reads battles: a language model or TF-IDF. Its predictions are out of fold.",
    ),
    (
        "fold, out of fold",
        "The battles are cut into folds by prompt; a prediction is out of fold when its model has not learnt from "
        "that fold.",
    ),
    (
        "stack",
        "The procedure that tunes, chooses among and combines the candidates below. Its figure is nested: on each "
        "fold it is what the procedure gives without seeing it.",
    ),
    (
        "candidate",
        "A way to combine the bases. One of them ships, fitted on all battles.",
    ),
    (
        "best_base",
        "The base with the lowest log loss, unchanged.",
    ),
    (
        "equal_blend, blend",
        "The mean of the bases' log-probabilities, with equal weights or with those of the lowest log loss.",
    ),
    (
        "regression",
        "Multinomial logistic regression on the bases' log-odds.",
    ),
    (
        "features",
        "The same with the handcrafted columns: lengths, wording, form, and so on.",
    ),
    (
        "booster",
        "LightGBM trees on top of the regression, which learn only what it leaves over.",
    ),
    (
        "handcrafted",
        "LightGBM trees on the handcrafted columns alone.",
    ),
    (
        "forest",
        "Extremely randomised trees on the bases and, where there are any, the handcrafted columns: deep ones, grown "
        "apart and averaged.",
    ),
    (
        "kernel",
        "Kernel ridge regression: a smooth function of the handcrafted columns and the bases' log-odds.",
    ),
    (
        "average, mix",
        "The mean of the regressions, boosters, forest and kernel: with fixed weights, or with fitted weights that are "
        "held close to them.",
    ),
    (
        "lead, tie",
        "What three probabilities come down to: the log-odds of A against B, and of a tie against both.",
    ),
    (
        "swap TTA",
        "Test-time augmentation: the battle is read in both response orders and the predictions are averaged.",
    ),
    (
        "ECE",
        "Expected calibration error: how far the probability of the favourite is from how often it comes true, on "
        "average over 15 bins. Even perfect probabilities have some by chance, the more the fewer battles.",
    ),
    (
        "AUC, decisive",
        "Of the battles that were no tie: how often a battle that A won has a higher lead than one that B won. 0.5 "
        "is chance.",
    ),
    (
        "macro-F1",
        "The mean over outcomes of F1, the harmonic mean of precision and recall.",
    ),
    (
        "95 % interval",
        "The range that would hold the figure in 95 of 100 such samples of prompts.",
    ),
    (
        "nested",
        "Chosen and fitted without the fold that it is scored on, the choice included.",
    ),
)
