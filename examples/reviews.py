"""Classifies sentences of film reviews by untrained BiLSTMs over word vectors (Wieting and Kiela, 2019)."""

from labelled_texts import read_reviews, read_vectors, report
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from unrolled_client.sklearn import RecurrentVectorizer

data, glove = read_reviews(), read_vectors()
accuracies = []
for seed in range(5):
    network = RecurrentVectorizer(seed=seed, cell="lstm", bidirectional=True, output="max", vectors=glove)
    model = make_pipeline(network, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    split = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed)
    accuracies += [*cross_val_score(model, *data, cv=split)]
report(data, accuracies)
