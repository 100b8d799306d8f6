//! The life of the store: filled, overwritten and interrupted; after a reset found, expired, compacted and checked.

use coldpress_embedded::flash::{
    AsyncNorMedium, CompactionTask, FlashConfig, FlashMemory, FlashMountError, FlashTier, GetError, Outcome,
    PutError, buckets_for,
};
use coldpress_firmware_exercise::clock;
use coldpress_firmware_exercise::model::{Model, TTL_S, Write, key_bytes, value_of};
use embassy_time::{Duration, Timer, with_timeout};

use crate::flash::{SECTOR_BYTES, SharedController, SharedFlash};

/// Keys of the history; one more says which life it is.
pub(crate) const KEYS: usize = 200;
const VALUE_BYTES: usize = 64;
const OVERWRITES: u32 = 1_000;
/// One put in so many gets a time limit that it often exceeds.
const LIMITED_EVERY: usize = 4;
/// After so many writes the task pauses.
const PAUSE_EVERY: usize = 16;
const LIVES_KEY: &[u8] = b"lives";
/// Steps of one poll.
const BUDGET: u32 = 8;

/// The memory of the store: the longest record takes a header of 20 bytes beside key and value.
pub(crate) type Memory = FlashMemory<{ crate::SECTORS }, { buckets_for(KEYS + 1) }, 88>;
type Tier = FlashTier<'static, AsyncNorMedium<SharedFlash>>;

/// Tells what went wrong.
#[derive(Debug, Clone, Copy, defmt::Format)]
pub(crate) enum Fault {
    /// A static was taken before.
    Held,
    /// The store could not be built.
    Build,
    /// It could not be mounted.
    Mount(FlashMountError),
    /// A write was refused.
    Put(PutError),
    /// A read failed.
    Get(GetError),
    /// A key lacks its value, or has a wrong one.
    Wrong { key: u32 },
    /// So many expired records were dropped, not as many as must be.
    Expired(u32),
    /// A task ended like this.
    Task(Outcome),
    /// A task did not end.
    Endless,
    /// The file of the flash could not be written.
    Save,
}

impl From<PutError> for Fault {
    fn from(error: PutError) -> Self {
        Self::Put(error)
    }
}

impl From<GetError> for Fault {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

/// The result of a life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LifeReport {
    pub(crate) life: u8,
    keys: u32,
    erases: u64,
    expired: u32,
    dropped: u32,
}

impl defmt::Format for LifeReport {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "life={=u8} keys={=u32} erases={=u64} expired={=u32} dropped={=u32}",
            self.life,
            self.keys,
            self.erases,
            self.expired,
            self.dropped,
        );
    }
}

/// The store, and what it must hold.
struct Life<'a> {
    tier: Tier,
    model: &'a mut Model<KEYS>,
    /// Puts whose future was dropped.
    dropped: u32,
}

/// Lives the life that the flash is at.
pub(crate) async fn live(
    memory: &'static mut Memory,
    model: &mut Model<KEYS>,
    controller: &'static SharedController,
) -> Result<LifeReport, Fault> {
    let medium = AsyncNorMedium::new(SharedFlash(controller));
    let config = FlashConfig::new(SECTOR_BYTES as u32, 7);
    let tier = FlashTier::new(config, memory, medium).map_err(|_| Fault::Build)?;
    let mut life = Life { tier, model, dropped: 0 };
    life.tier.mount(clock::now()).await.map_err(Fault::Mount)?;
    let mut lives = [0];
    let number = match life.tier.get(clock::now(), LIVES_KEY, &mut lives).await? {
        None => 1,
        Some(_) => 2,
    };
    let expired = if number == 1 { life.first().await? } else { life.second().await? };
    life.put(LIVES_KEY, &[number], None).await?;
    let stats = life.tier.stats();
    Ok(LifeReport {
        life: number,
        keys: stats.keys,
        erases: stats.erases_total,
        expired,
        dropped: life.dropped,
    })
}

impl Life<'_> {
    /// Plays the history, and drops the future of one put in some.
    async fn first(&mut self) -> Result<u32, Fault> {
        for (number, (write, key)) in Model::<KEYS>::history(OVERWRITES).enumerate() {
            let (name, value) = (key_bytes(key), value_of::<VALUE_BYTES>(key, self.model.next_version(key)));
            if write == Write::Put && number % LIMITED_EVERY == 0 {
                let put = self.tier.put(clock::now(), &name, &value);
                // Programming takes two ticks, so the drop cuts the record. The put below writes it again.
                self.dropped += u32::from(with_timeout(Duration::from_ticks(1), put).await.is_err());
            }
            match write {
                Write::Put => self.put(&name, &value, None).await?,
                Write::PutWithTtl => self.put(&name, &value, Some(TTL_S)).await?,
                Write::Remove => self.remove(&name).await?,
            }
            self.model.note(write, key);
            if number % PAUSE_EVERY == 0 {
                // The mutex of the flash is not fair: who waits for it gets it when this task pauses.
                Timer::after_ticks(1).await;
            }
        }
        self.check().await?;
        Ok(0)
    }

    /// Finds everything again, lets keys expire, and compacts.
    async fn second(&mut self) -> Result<u32, Fault> {
        self.model.recall(OVERWRITES);
        self.check().await?;
        clock::sleep(2 * TTL_S);
        let expired = self.model.expire();
        self.check().await?;
        let found = self.run(CompactionTask::CleanupExpired).await?;
        if found != expired {
            return Err(Fault::Expired(found));
        }
        self.run(CompactionTask::CompactData).await?;
        self.check().await?;
        Ok(expired)
    }

    /// Runs a task to its end; returns how many records it dropped because their time was over.
    async fn run(&mut self, task: CompactionTask) -> Result<u32, Fault> {
        self.tier.schedule(task).map_err(|_| Fault::Endless)?;
        loop {
            let work = self.tier.poll(clock::now(), BUDGET).await;
            match self.tier.take_report() {
                Some(report) if report.outcome == Outcome::Completed => return Ok(report.expired_records),
                Some(report) => return Err(Fault::Task(report.outcome)),
                None if work.is_idle => return Err(Fault::Endless),
                None => {}
            }
        }
    }

    async fn put(&mut self, key: &[u8], value: &[u8], ttl_s: Option<u32>) -> Result<(), Fault> {
        loop {
            let put = match ttl_s {
                Some(ttl_s) => self.tier.put_with_ttl(clock::now(), key, value, ttl_s).await,
                None => self.tier.put(clock::now(), key, value).await,
            };
            match put {
                Err(PutError::NeedsCompaction) => drop(self.tier.poll(clock::now(), BUDGET).await),
                other => return Ok(other?),
            }
        }
    }

    async fn remove(&mut self, key: &[u8]) -> Result<(), Fault> {
        loop {
            match self.tier.remove(clock::now(), key).await {
                Err(PutError::NeedsCompaction) => drop(self.tier.poll(clock::now(), BUDGET).await),
                other => return Ok(other.map(drop)?),
            }
        }
    }

    /// Compares every key with the model.
    async fn check(&mut self) -> Result<(), Fault> {
        let mut value = [0; VALUE_BYTES];
        for (key, version) in self.model.iter() {
            let wanted = version.map(|version| value_of::<VALUE_BYTES>(key, version));
            let found = self.tier.get(clock::now(), &key_bytes(key), &mut value).await?;
            if found != wanted.as_ref().map(<[u8; VALUE_BYTES]>::as_slice) {
                return Err(Fault::Wrong { key });
            }
        }
        Ok(())
    }
}
