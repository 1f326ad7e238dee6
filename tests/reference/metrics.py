"""Metrics of random scores by scikit-learn, for tests/metrics.rs: python metrics.py"""
import numpy as np, json
from sklearn import metrics as m
r=np.random.RandomState(3)
n,c=97,4
# quarters: exact in f32, with ties
scores=(r.randint(-12,13,size=(n,c))/4).astype(np.float32)
y=r.randint(0,c,size=n); y[y==2]=np.where(r.rand((y==2).sum())<.5,1,2)
pred=scores.argmax(1)
out={}
out['scores']=(scores*4).astype(int).ravel().tolist(); out['classes']=y.tolist()
out['accuracy']=m.accuracy_score(y,pred)
order=np.argsort(-scores,axis=1,kind='stable')[:,:2]
out['top2']=float(np.mean([y[i] in order[i] for i in range(n)]))
for a in ['macro','micro']:
    out['precision_'+a]=m.precision_score(y,pred,average=a,zero_division=0)
    out['recall_'+a]=m.recall_score(y,pred,average=a,zero_division=0)
    out['f1_'+a]=m.f1_score(y,pred,average=a,zero_division=0)
out['confusion']=m.confusion_matrix(y,pred).tolist()
out['auroc']=float(np.mean([m.roc_auc_score(y==k,scores[:,k]) for k in range(c)]))
out['ap']=float(np.mean([m.average_precision_score(y==k,scores[:,k]) for k in range(c)]))
b=(y==1).astype(int); s=scores[:,1]
out['binary_auroc']=m.roc_auc_score(b,s); out['binary_ap']=m.average_precision_score(b,s)
p=(s>0).astype(int)
out['binary']=[m.precision_score(b,p),m.recall_score(b,p),m.f1_score(b,p),m.accuracy_score(b,p)]
x=scores[:,0].astype(np.float64); t=1000+scores[:,3].astype(np.float64)+0.5*x; x=x+1000
out['r2']=m.r2_score(t,x); out['mae']=m.mean_absolute_error(t,x); out['rmse']=float(np.sqrt(m.mean_squared_error(t,x)))
z=scores.astype(np.float64); lse=np.log(np.exp(z).sum(1)); out['perplexity']=float(np.exp((lse-z[np.arange(n),y]).mean()))
print(json.dumps(out))
