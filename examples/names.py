"""Classifies first names as male or female by untrained echo-state networks that read their letters."""

from labelled_texts import read_names, report
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from unrolled_client.sklearn import RecurrentVectorizer

data = read_names()
accuracies = []
for seed in range(5):
    # The network learns its alphabet from the training part; letters that only the test part has are zeros.
    esn = RecurrentVectorizer(seed=seed, spectral_radius=0.9, leak_rate=0.6, density=0.1, output="last")
    model = make_pipeline(esn, StandardScaler(), LogisticRegression(max_iter=1000))
    split = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed)
    accuracies += [*cross_val_score(model, *data, cv=split)]
report(data, accuracies)
