//! The typed form, awaited.

use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::conditional::{Expected, Update, Versioned};
use crate::api::put::PutOptions;
use crate::api::ttl::Ttl;
use crate::api::typed::{PersistentColdTierHandle, changed, decoded, encoded, encoded_expected};
use crate::config::Durability;
use crate::errors::{GetError, PutError, RemoveError, TierError, UpdateError};

impl<K, V> PersistentColdTierHandle<K, V> {
    /// Makes everything put or removed so far durable. As [`flush`](Self::flush), for a future.
    ///
    /// # Errors
    /// [`TierError`].
    pub async fn flush_async(&self) -> Result<(), TierError> {
        self.bytes().flush_async().await
    }

    /// As [`clear`](Self::clear), for a future.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    pub async fn clear_async(&self) -> Result<u64, RemoveError> {
        self.bytes().clear_async().await
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

impl<K: Serialize, V: DeserializeOwned> PersistentColdTierHandle<K, V> {
    /// As [`get_versioned`](Self::get_versioned), for a future.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_versioned_async(&self, key: &K) -> Result<Option<Versioned<V>>, GetError> {
        let key = encoded(key).ok_or(GetError::Decode)?;
        let Some(Versioned { value, version }) = self.bytes().get_versioned_async(&key).await? else {
            return Ok(None);
        };
        Ok(Some(Versioned { value: decoded(&value)?, version }))
    }
}

impl<K: Serialize, V: Serialize> PersistentColdTierHandle<K, V> {
    /// As [`put_if_absent`](Self::put_if_absent), for a future.
    ///
    /// # Errors
    /// As [`put_if_absent`](Self::put_if_absent).
    pub async fn put_if_absent_async(
        &self,
        key: &K,
        value: &V,
        options: PutOptions,
    ) -> Result<bool, PutError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let value = encoded(value).ok_or(PutError::Encode)?;
        self.bytes().put_if_absent_async(&key, &value, options).await
    }

    /// As [`compare_and_swap`](Self::compare_and_swap), for a future; see
    /// [`ColdTierHandle::compare_and_swap_async`](crate::ColdTierHandle::compare_and_swap_async).
    ///
    /// # Errors
    /// As [`compare_and_swap`](Self::compare_and_swap).
    pub async fn compare_and_swap_async(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        value: &V,
        options: PutOptions,
    ) -> Result<bool, UpdateError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let value = encoded(value).ok_or(PutError::Encode)?;
        let mut bytes = Vec::new();
        let expected = encoded_expected(expected, &mut bytes)?;
        self.bytes().compare_and_swap_async(&key, expected, &value, options).await
    }

    /// As [`compare_and_remove`](Self::compare_and_remove), for a future.
    ///
    /// # Errors
    /// As [`compare_and_remove`](Self::compare_and_remove).
    pub async fn compare_and_remove_async(
        &self,
        key: &K,
        expected: Expected<'_, V>,
        durability: Durability,
    ) -> Result<bool, UpdateError> {
        let key = encoded(key).ok_or(RemoveError::Encode)?;
        let mut bytes = Vec::new();
        let expected = encoded_expected(expected, &mut bytes)?;
        self.bytes().compare_and_remove_async(&key, expected, durability).await
    }
}

impl<K: Serialize, V: Serialize + DeserializeOwned> PersistentColdTierHandle<K, V> {
    /// As [`update`](Self::update), for a future; see [`ColdTierHandle::update_async`](crate::ColdTierHandle::update_async).
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn update_async(
        &self,
        key: &K,
        options: PutOptions,
        mut change: impl FnMut(Option<V>) -> Update<V>,
    ) -> Result<Update<V>, UpdateError> {
        let key = encoded(key).ok_or(PutError::Encode)?;
        let mut outcome = Ok(Update::Keep);
        let change = |bytes: Option<&[u8]>| {
            let (next, update) = changed(bytes, &mut change);
            outcome = next;
            update
        };
        self.bytes().update_async(&key, options, change).await?;
        outcome
    }
}

impl<K: Serialize, V> PersistentColdTierHandle<K, V> {
    /// As [`touch`](Self::touch), for a future.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub async fn touch_async(&self, key: &K, ttl: Ttl) -> Result<bool, UpdateError> {
        self.bytes().touch_async(&encoded(key).ok_or(PutError::Encode)?, ttl).await
    }

    /// As [`touch_with`](Self::touch_with), for a future.
    ///
    /// # Errors
    /// As [`touch_with`](Self::touch_with).
    pub async fn touch_with_async(&self, key: &K, options: PutOptions) -> Result<bool, UpdateError> {
        self.bytes().touch_with_async(&encoded(key).ok_or(PutError::Encode)?, options).await
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
