// What new settings mean for a worker that runs: what it takes over, and what has to wait for a restart. Pure.

import RoutingContract

/// What has changed between two settings.
public struct SettingsChange: Sendable, Hashable {
    /// Aliases of orgs, each in the order of the settings.
    public var added: [String] = []
    public var removed: [String] = []
    public var changed: [String] = []
    /// Misconfigured orgs, by the aliases of their files, that go on with what they had.
    public var kept: [String] = []
    /// Whether other settings that need no restart have changed.
    public var touchesCommands = false
    /// Whether the log's level has changed.
    public var touchesLog = false
    /// Keys of settings that have changed and are not taken over before a restart.
    public var needRestart: [String] = []

    public var isEmpty: Bool { self == SettingsChange() }
}

extension Settings {
    /// What a worker with these settings runs with once it is told `new`.
    ///
    /// Taken over are orgs with all that they have, `commands` (but for `replayQueue` and partitions),
    /// `answers.allowReplyTo`, `log.level`, `amqp.managementURL`, and of the queues their `defaultOrg`, `defaultContext` and
    /// `allowedOrgs`. An org whose new file is bad keeps what it had.
    public func reloading(_ new: Settings) -> (settings: Settings, change: SettingsChange) {
        var change = SettingsChange()
        var next = self
        (next.orgsFolder, next.orgs, next.misconfigured) = (new.orgsFolder, new.orgs, new.misconfigured)
        let missing = orgs.filter { old in !new.orgs.contains { $0.alias == old.alias || $0.id == old.id } }
        for bad in new.misconfigured {
            guard let old = missing.first(where: bad.wasOnce) else { continue }
            if !next.orgs.contains(old) { next.orgs.append(old) }
            change.kept.append(bad.alias)
        }
        let before = Dictionary(orgs.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        let after = Set(next.orgs.map(\.id))
        change.removed = orgs.filter { !after.contains($0.id) }.map(\.alias)
        for org in next.orgs {
            if let old = before[org.id] {
                if old != org { change.changed.append(org.alias) }
            } else {
                change.added.append(org.alias)
            }
        }

        next.commands = new.commands
        // They are consumed like the queues.
        next.commands.replayQueue = commands.replayQueue
        next.commands.partitions = commands.partitions
        next.commands.partitionExchange = commands.partitionExchange
        // Nothing in a worker that runs reads it.
        next.amqp.managementURL = new.amqp.managementURL
        next.answers.allowReplyTo = new.answers.allowReplyTo
        for index in next.queues.indices {
            guard let queue = new.queues.first(where: { $0.name == next.queues[index].name }) else { continue }
            next.queues[index].defaultOrg = queue.defaultOrg
            next.queues[index].defaultContext = queue.defaultContext
            next.queues[index].allowedOrgs = queue.allowedOrgs
        }
        change.touchesCommands =
            next.commands != commands || next.answers != answers || next.queues != queues
        next.log.level = new.log.level
        change.touchesLog = next.log != log
        change.needRestart = next.keysOfDifferences(from: new)
        return (next, change)
    }

    /// The keys of all settings, but for orgs and `defaults`, in which these differ from `other`.
    private func keysOfDifferences(from other: Settings) -> [String] {
        func differs<Value: Equatable>(_ path: KeyPath<Settings, Value>) -> Bool {
            self[keyPath: path] != other[keyPath: path]
        }
        let all: [(entry: SettingsReference.Entry, differs: Bool)] = [
            (Keys.workerName.entry, differs(\.worker.name)),
            (Keys.concurrency.entry, differs(\.worker.concurrency)),
            (Keys.drainTimeout.entry, differs(\.worker.drainTimeout)),
            (Keys.brokerURL.entry, differs(\.amqp.urls)),
            (Keys.brokerCAFile.entry, differs(\.amqp.caFile)),
            (Keys.certificateFile.entry, differs(\.amqp.certificateFile)),
            (Keys.keyFile.entry, differs(\.amqp.keyFile)),
            (Keys.heartbeat.entry, differs(\.amqp.heartbeat)),
            (Keys.brokerConnectTimeout.entry, differs(\.amqp.connectTimeout)),
            (Keys.reconnectMinimum.entry, differs(\.amqp.reconnect.minimum)),
            (Keys.reconnectMaximum.entry, differs(\.amqp.reconnect.maximum)),
            (Keys.queueNames.entry, queues.map(\.name) != other.queues.map(\.name)),
            (Keys.prefetch.entry, differsInSharedQueues(from: other, \.prefetch)),
            (Keys.queueConcurrency.entry, differsInSharedQueues(from: other, \.concurrency)),
            (Keys.replayQueue.entry, differs(\.commands.replayQueue)),
            (Keys.partitions.entry, differs(\.commands.partitions)),
            (Keys.partitionExchange.entry, differs(\.commands.partitionExchange)),
            (Keys.resultsQueue.entry, differs(\.answers.queue)),
            (Keys.deadLetterQueue.entry, differs(\.answers.deadLetterQueue)),
            (Keys.copyDirectReplies.entry, differs(\.answers.copyDirectReplies)),
            (Keys.confirmTimeout.entry, differs(\.answers.confirmTimeout)),
            (Keys.auditQueue.entry, differs(\.deadLetters.auditQueue)),
            (Keys.maximumAge.entry, differs(\.deadLetters.maximumAge)),
            (Keys.controlsEnabled.entry, differs(\.controls.isEnabled)),
            (Keys.controlsQueue.entry, differs(\.controls.queue)),
            (Keys.store.entry, differs(\.store.location)),
            (Keys.storeCAFile.entry, differs(\.store.caFile)),
            (Keys.retention.entry, differs(\.store.retention)),
            (Keys.failureRetention.entry, differs(\.store.failureRetention)),
            (Keys.lease.entry, differs(\.store.lease)),
            (Keys.storeTimeout.entry, differs(\.store.timeout)),
            (Keys.linger.entry, differs(\.store.linger)),
            (Keys.httpConnectTimeout.entry, differs(\.http.connectTimeout)),
            (Keys.httpCAFile.entry, differs(\.http.caFile)),
            (Keys.proxy.entry, differs(\.http.proxy)),
            (Keys.maximumConnections.entry, differs(\.http.maximumConnections)),
            (Keys.idleTimeout.entry, differs(\.http.idleTimeout)),
            (Keys.maximumAnswer.entry, differs(\.http.maximumAnswer)),
            (Keys.adminEnabled.entry, differs(\.admin.isEnabled)),
            (Keys.adminAddress.entry, differs(\.admin.address)),
            (Keys.livenessLimit.entry, differs(\.admin.livenessLimit)),
            (Keys.logFormat.entry, differs(\.log.format)),
            (Keys.logBuffer.entry, differs(\.log.buffer)),
        ]
        return all.filter(\.differs).map(\.entry.key)
    }

    private func differsInSharedQueues(from other: Settings, _ path: KeyPath<Queue, Int>) -> Bool {
        queues.contains { queue in
            other.queues.contains { $0.name == queue.name && $0[keyPath: path] != queue[keyPath: path] }
        }
    }
}
