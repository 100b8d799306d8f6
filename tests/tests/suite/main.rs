//! The suites that cross the crates: one program, so that they share what they compile, and both cores always have a test to run.
//!
//! A suite that looks at the whole process, or starts itself again, is a program of its own beside this folder.

mod bit_flips;
mod bit_flips_open;
mod conformance;
mod crash_everywhere;
mod faults_everywhere;
mod faults_tier;
mod firmware_exercise;
mod flash_full;
mod flash_lives;
mod format_versions;
mod golden;
mod golden_census;
mod golden_device;
mod golden_service;
mod golden_stored;
mod hostile_images;
mod machine_end;
mod machine_lives;
mod machine_orders;
mod machine_random;
mod machine_reports;
mod machine_stalls;
mod machine_wear;
mod power_cuts;
mod power_cuts_flips;
mod power_cuts_often;
mod rules_damage;
mod rules_disk;
mod rules_drops;
mod rules_durability;
mod rules_erase;
mod rules_evidence;
mod rules_mount;
mod rules_publication;
mod rules_secret;
mod rules_sync_in_doubt;
mod rules_time_and_room;
mod rules_time_back;
mod rules_time_failed;
mod rules_time_quiet;
mod rules_torn_header;
mod steps;
mod tier_cuts;
mod tier_operator;
