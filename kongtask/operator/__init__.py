"""The operator of KongTaskPool: looks at pools and brings clusters to what they say."""
