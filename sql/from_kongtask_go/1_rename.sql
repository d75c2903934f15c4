-- Keep the tables of KongTask for Go under another name: {old} is new, {schema} becomes free.
alter schema {schema} rename to {old};
