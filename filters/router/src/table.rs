//! Finds the rule for a path: exact before prefix, the longest prefix first, custom before the others on a tie.
//! The cost depends on the depth of the path, not on the number of rules.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use gpanel_filter::ConfigError;

use crate::pattern::Extent;
use crate::rule::Rule;

/// Rules by the path of their pattern without `/*`.
pub(crate) struct Table {
    nodes: HashMap<Box<[u8]>, Node, BuildHasherDefault<PathHasher>>,
    /// Slashes in the deepest prefix: a path is not searched below that, however many segments it has.
    depth: usize,
}

/// Indices of the rules of one path, custom ones first.
#[derive(Default)]
struct Node {
    exact: [Option<u32>; 2],
    below: [Option<u32>; 2],
}

impl Table {
    pub(crate) fn new(rules: &[Rule]) -> Result<Self, ConfigError> {
        let mut table = Self { nodes: HashMap::default(), depth: 0 };
        for (index, rule) in rules.iter().enumerate() {
            let base = rule.pattern.base();
            let node = table.nodes.entry(base.into()).or_default();
            let places = match rule.pattern.extent {
                Extent::Exact => &mut node.exact,
                Extent::Below => {
                    table.depth = table.depth.max(slashes(base));
                    &mut node.below
                }
            };
            let group = usize::from(!rule.custom);
            if let Some(first) = places[group].replace(u32::try_from(index).unwrap_or(u32::MAX)) {
                let message = format!("pattern \"{}\" is already that of rule {first}", rule.pattern.as_str());
                return Err(ConfigError::new(message).at("pattern").at(index));
            }
        }
        Ok(table)
    }

    pub(crate) fn find<'a>(&self, path: &[u8], rules: &'a [Rule]) -> Option<&'a Rule> {
        let choose = |places: &[Option<u32>; 2]| {
            let rule = |index: &u32| rules.get(*index as usize).filter(|rule| !rule.excludes(path));
            places.iter().flatten().find_map(rule)
        };
        let whole = self.nodes.get(path);
        if let Some(rule) = whole.and_then(|node| choose(&node.exact).or_else(|| choose(&node.below))) {
            return Some(rule);
        }
        let mut prefix = truncate(path, self.depth);
        while let Some(end) = prefix.iter().rposition(|&byte| byte == b'/') {
            prefix = &prefix[..end];
            if let Some(rule) = self.nodes.get(prefix).and_then(|node| choose(&node.below)) {
                return Some(rule);
            }
        }
        None
    }
}

/// The path up to and with the slash after `depth` segments.
fn truncate(path: &[u8], depth: usize) -> &[u8] {
    let slash = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').nth(depth);
    slash.map_or(path, |(end, _)| &path[..=end])
}

fn slashes(path: &[u8]) -> usize {
    path.split(|byte| *byte == b'/').count() - 1
}

/// FxHash: eight bytes a step. The keys come from the configuration, so nobody can choose them to collide.
#[derive(Default)]
struct PathHasher(u64);

impl PathHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for PathHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.add(u64::from_le_bytes(last));
    }

    fn write_usize(&mut self, length: usize) {
        self.add(length as u64);
    }

    fn finish(&self) -> u64 {
        // hashbrown takes its seven tag bits from the top and the bucket from the bottom; multiplication mixes
        // only upwards.
        self.0 ^ (self.0 >> 32)
    }
}
