//! The typed form, awaited.

use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::put::PutOptions;
use crate::api::typed::{PersistentColdTierHandle, decoded, encoded};
use crate::config::Durability;
use crate::errors::{GetError, PutError, RemoveError, TierError};

impl<K, V> PersistentColdTierHandle<K, V> {
    /// Makes everything put or removed so far durable. As [`flush`](Self::flush), for a future.
    ///
    /// # Errors
    /// [`TierError`].
    pub async fn flush_async(&self) -> Result<(), TierError> {
        self.bytes().flush_async().await
    }
}

impl<K: Serialize, V: Serialize> PersistentColdTierHandle<K, V> {
    /// As [`put`](Self::put), for a future; see [`ColdTierHandle::put_async`](crate::ColdTierHandle::put_async).
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_async(&self, key: &K, value: &V) -> Result<(), PutError> {
        self.put_with_async(key, value, PutOptions::default()).await
    }

    /// As [`put_with_ttl`](Self::put_with_ttl), for a future.
    ///
    /// # Errors
    /// As [`put_with_ttl`](Self::put_with_ttl).
    pub async fn put_with_ttl_async(&self, key: &K, value: &V, ttl: Duration) -> Result<(), PutError> {
        self.put_with_async(key, value, PutOptions { ttl: ttl.into(), ..PutOptions::default() }).await
    }

    /// As [`put_with`](Self::put_with), for a future.
    ///
    /// # Errors
    /// As [`put_with`](Self::put_with).
    pub async fn put_with_async(&self, key: &K, value: &V, options: PutOptions) -> Result<(), PutError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let value = encoded(value).ok_or(PutError::Encode)?;
        self.bytes().put_with_async(&key, &value, options).await
    }
}

impl<K: Serialize, V: DeserializeOwned> PersistentColdTierHandle<K, V> {
    /// As [`get`](Self::get), for a future; see [`ColdTierHandle::get_async`](crate::ColdTierHandle::get_async).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_async(&self, key: &K) -> Result<Option<V>, GetError> {
        let key = encoded(key).ok_or(GetError::Decode)?;
        self.bytes().get_async(&key).await?.map(|value| decoded(&value)).transpose()
    }
}

impl<K: Serialize, V> PersistentColdTierHandle<K, V> {
    /// As [`remove`](Self::remove), for a future; see [`ColdTierHandle::remove_async`](crate::ColdTierHandle::remove_async).
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    pub async fn remove_async(&self, key: &K) -> Result<bool, RemoveError> {
        let key = encoded(key).ok_or(RemoveError::Encode)?;
        self.bytes().remove_async(&key).await
    }

    /// As [`remove_with`](Self::remove_with), for a future.
    ///
    /// # Errors
    /// As [`remove_with`](Self::remove_with).
    pub async fn remove_with_async(&self, key: &K, durability: Durability) -> Result<bool, RemoveError> {
        let key = encoded(key).ok_or(RemoveError::Encode)?;
        self.bytes().remove_with_async(&key, durability).await
    }
}
