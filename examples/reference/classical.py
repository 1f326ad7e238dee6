"""The figures that the classical examples are compared with: scikit-learn's.

    python examples/reference/classical.py        # scikit-learn 1.9

Prints the constants as they stand in examples/kmeans.rs, knn.rs, naive_bayes.rs, logistic_regression.rs,
linear_regression.rs, svm.rs, neuron.rs and trees.rs. Every third example is a test example where there is a test.
"""

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.ensemble import AdaBoostClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor


def divided(x, y):
    test = np.arange(len(y)) % 3 == 2
    return x[~test], y[~test], x[test], y[test]


def standardised(x):
    return (x - x.mean(0)) / x.std(0)


def show(name, *numbers):
    print(name, *(f"{n:.6f}" for n in numbers))


x, y = load_iris(return_X_y=True)
k = KMeans(3, init=x[[0, 50, 100]], n_init=1, tol=0).fit(x)
show("kmeans: within-cluster sum of squares", k.inertia_)
show("kmeans: sizes", *np.bincount(k.labels_))

a, b, c, d = divided(x, y)
show("knn: iris, accuracy of 5 and of 15 neighbours", *(KNeighborsClassifier(n).fit(a, b).score(c, d) for n in (5, 15)))
a, b, c, d = divided(*load_wine(return_X_y=True))
show("knn: wine, raw", KNeighborsClassifier(5).fit(a, b).score(c, d))
mean, std = a.mean(0), a.std(0)
show("knn: wine, standardised", KNeighborsClassifier(5).fit((a - mean) / std, b).score((c - mean) / std, d))
bayes = GaussianNB(var_smoothing=0).fit(a, b)
p = bayes.predict_log_proba(c)
show("naive_bayes: wine, accuracy, mean log-likelihood", bayes.score(c, d), p[np.arange(len(d)), d].mean())

x, y = load_breast_cancer(return_X_y=True)
x = standardised(x)


def logistic(x, strength):
    model = LogisticRegression(C=np.inf if strength == 0 else 1 / strength, tol=1e-12, max_iter=100000).fit(x, y)
    z = x @ model.coef_[0] + model.intercept_[0]
    loss = np.logaddexp(0, np.where(y == 1, -z, z)).mean()
    return loss, model.score(x, y), (model.coef_**2).sum()


show("logistic_regression: ten columns, none: loss, accuracy, |w|^2", *logistic(x[:, :10], 0))
show("logistic_regression: all columns, strength 1", *logistic(x, 1))
show("logistic_regression: all columns, strength 100", *logistic(x, 100))

svm = SVC(kernel="linear", C=1.0, tol=1e-10).fit(x, y)
t = 2 * y - 1
objective = 0.5 * (svm.coef_**2).sum() + np.maximum(0, 1 - t * svm.decision_function(x)).sum()
show("svm: objective, accuracy, support vectors", objective, svm.score(x, y), len(svm.support_))

x, y = load_diabetes(return_X_y=True, scaled=False)
x = standardised(x)
y = y - y.mean()
for name, model in [
    ("plain", LinearRegression()),
    ("ridge 50", Ridge(50.0)),
    ("lasso 3", Lasso(3.0, tol=1e-12, max_iter=100000)),
    ("elastic net 1 0.5", ElasticNet(1.0, l1_ratio=0.5, tol=1e-12, max_iter=100000)),
]:
    model.fit(x, y)
    show(f"linear_regression: {name}: R^2, bmi, s5", model.score(x, y), model.coef_[2], model.coef_[8])
    print("    coefficients that are not 0:", (np.abs(model.coef_) > 1e-9).sum())

cgpa = np.array([5.1, 5.5, 5.9, 6.2, 6.4, 6.8, 7.0, 7.1, 7.4, 7.7, 8.0, 8.3, 8.7, 9.1])
placed = np.array([0, 0, 0, 0, 1, 0, 0, 1, 0, 1, 1, 1, 1, 1])
neuron = LogisticRegression(C=np.inf, tol=1e-12, max_iter=100000).fit(cgpa[:, None], placed)
show("neuron: w, b", neuron.coef_[0, 0], neuron.intercept_[0])

a, b, c, d = divided(*load_wine(return_X_y=True))
for criterion in ["gini", "entropy"]:
    tree = DecisionTreeClassifier(criterion=criterion, max_depth=3, random_state=0).fit(a, b)
    show(f"trees: wine, {criterion}, depth 3, training and test", tree.score(a, b), tree.score(c, d))
forest = [RandomForestClassifier(50, max_depth=4, random_state=s).fit(a, b).score(c, d) for s in range(5)]
show("trees: wine, random forests of 50, five seeds", *forest)
a, b, c, d = divided(*load_breast_cancer(return_X_y=True))
boost = AdaBoostClassifier(DecisionTreeClassifier(max_depth=1), n_estimators=30).fit(a, b)
show("trees: breast cancer, AdaBoost of 30 stumps, training and test", boost.score(a, b), boost.score(c, d))
a, b, c, d = divided(*load_diabetes(return_X_y=True, scaled=False))
tree = DecisionTreeRegressor(max_depth=3, random_state=0).fit(a, b)
show("trees: diabetes, regression tree of depth 3, R^2", tree.score(a, b), tree.score(c, d))
for loss in ["squared_error", "huber"]:
    boost = GradientBoostingRegressor(loss=loss, n_estimators=50, learning_rate=0.1, max_depth=2, random_state=0).fit(a, b)
    show(f"trees: diabetes, gradient boosting of 50 trees of depth 2, {loss}, R^2", boost.score(a, b), boost.score(c, d))
