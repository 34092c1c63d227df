// Settings that are each right and do not fit together.

import RoutingContract

struct CrossChecks {
    /// What a lease must leave beside the call and the store's own time: pauses of the process, scheduling.
    static let leaseMargin: Duration = .seconds(5)

    var sources: SettingsSources
    let settings: Settings

    mutating func run(_ purpose: Settings.Purpose, environment: [String: String], flags: [String: String]) {
        checkBroker(flags)
        checkQueues()
        checkReplies()
        checkPartitions()
        checkStore()
        checkDefaults()
        checkOrgs(environment, purpose)
        checkQueueOrgs()
    }

    private mutating func checkBroker(_ flags: [String: String]) {
        let amqp = settings.amqp
        if sources.written(Keys.brokerURL.path)?.texts.isEmpty == true {
            sources.report(Keys.brokerURL.path, "is an empty list, write at least one URL")
        }
        for key in [Keys.brokerURL.entry, Keys.managementURL.entry, Keys.proxy.entry, Keys.store.entry] {
            if let flag = flags[key.key], !flag.hasPrefix("sqlite:"), flag.contains("@") || flag.contains("password=") {
                sources.report(
                    key.path,
                    "holds a password, which other users of this machine can read here, write it into "
                        + "\(key.environment ?? "the environment") or the file",
                    at: .flag(key.key))
            }
        }
        if amqp.certificateFile != nil, amqp.keyFile == nil {
            sources.report(Keys.certificateFile.path, "needs its key, write keyFile: too")
        }
        if amqp.keyFile != nil, amqp.certificateFile == nil {
            sources.report(Keys.keyFile.path, "needs its certificate, write certificateFile: too")
        }
        checkOrder(Keys.reconnectMinimum.path, amqp.reconnect)
    }

    private mutating func checkOrder(_ path: [String], _ backoff: Settings.Backoff) {
        guard backoff.minimum > backoff.maximum else { return }
        sources.report(
            path,
            "\(Units.durationText(backoff.minimum)) is above maximum (\(Units.durationText(backoff.maximum))), "
                + "lower it or raise maximum",
            with: [path.dropLast() + ["maximum"]])
    }

    private mutating func checkQueues() {
        let worker = settings.worker.concurrency
        if settings.queues.isEmpty, sources.written(Keys.queueNames.path)?.texts.isEmpty != false {
            sources.report(Keys.queueNames.path, "names no queue, write at least one")
        }
        let answers = settings.answers
        for (name, key) in [(answers.queue, Keys.resultsQueue), (answers.deadLetterQueue, Keys.deadLetterQueue)]
        where name == settings.commands.replayQueue {
            sources.report(
                Keys.replayQueue.path, "is also \(key.entry.key), choose another name for one of them",
                with: [key.path])
        }
        for queue in settings.queues {
            let path = [Keys.queuesSection, queue.name]
            if queue.name == answers.queue {
                sources.report(
                    path, "is also answers.queue, choose another name for one of them", with: [Keys.resultsQueue.path])
            }
            if queue.name == answers.deadLetterQueue {
                sources.report(
                    path, "is also answers.deadLetterQueue, choose another name for one of them",
                    with: [Keys.deadLetterQueue.path])
            }
            if queue.prefetch < queue.concurrency {
                sources.report(
                    path + ["prefetch"],
                    "\(queue.prefetch) is below the queue's concurrency (\(queue.concurrency)), raise it to at least that"
                )
            }
        }
        let reserved = settings.queues.reduce(0) { $0 + $1.concurrency }
        if reserved > worker, let last = settings.queues.last(where: { $0.concurrency > 0 }) {
            sources.report(
                [Keys.queuesSection, last.name, "concurrency"],
                "the queues' shares add up to \(reserved), above worker.concurrency (\(worker)), lower them or raise it"
            )
        } else if reserved == worker, let starving = settings.queues.first(where: { $0.concurrency == 0 }) {
            sources.report(
                [Keys.queuesSection, starving.name, "concurrency"],
                "the other queues' shares take all of worker.concurrency (\(worker)), give this queue a share too"
            )
        } else if reserved == worker, let last = settings.queues.last,
            !settings.queues.contains(where: { $0.name == settings.commands.replayQueue })
        {
            sources.report(
                [Keys.queuesSection, last.name, "concurrency"],
                "the queues' shares take all of worker.concurrency (\(worker)), leave some of it to "
                    + "commands.replayQueue"
            )
        }
    }

    private mutating func checkReplies() {
        let answers = settings.answers
        if answers.queue == answers.deadLetterQueue {
            sources.report(
                Keys.deadLetterQueue.path, "is also answers.queue, choose another name for one of them",
                with: [Keys.resultsQueue.path])
        }
        var taken =
            settings.commandsQueues.map { ($0, [Keys.queuesSection, $0]) } + [
                (answers.queue, Keys.resultsQueue.path), (answers.deadLetterQueue, Keys.deadLetterQueue.path),
            ]
        let others = [
            (settings.deadLetters.auditQueue, Keys.auditQueue), (settings.controls.queue, Keys.controlsQueue),
        ]
        for (name, key) in others {
            if let (_, path) = taken.first(where: { $0.0 == name }) {
                sources.report(
                    key.path,
                    "is also the queue of \(path.joined(separator: ".")), choose another name for one of them",
                    with: [path])
            }
            taken.append((name, key.path))
        }
        for pattern in answers.allowReplyTo {
            guard let (queue, what) = settings.ownQueues.first(where: { pattern.matches($0.name) }) else { continue }
            sources.report(
                Keys.allowReplyTo.path,
                "\(pattern.shown) matches \(what) \(queue), to which answers may never go, narrow the pattern")
        }
    }

    /// Names that the partitions need and something else has.
    private mutating func checkPartitions() {
        guard let partitioned = settings.partitionedQueue else { return }
        let taken = Set(partitioned.partitions + partitioned.locks + partitioned.countingQueues)
        let others =
            settings.queues.dropFirst().map { ($0.name, [Keys.queuesSection, $0.name]) } + [
                (settings.commands.replayQueue, Keys.replayQueue.path),
                (settings.answers.queue, Keys.resultsQueue.path),
                (settings.answers.deadLetterQueue, Keys.deadLetterQueue.path),
                (settings.deadLetters.auditQueue, Keys.auditQueue.path),
                (settings.controls.queue, Keys.controlsQueue.path),
            ]
        for (name, path) in others where taken.contains(name) {
            sources.report(
                path, "\(name) is a queue that commands.partitions needs, choose another name",
                with: [Keys.partitions.path])
        }
        if settings.commands.replayQueue == partitioned.name {
            sources.report(
                Keys.replayQueue.path, "is also the queue that commands.partitions spreads, choose another name",
                with: [Keys.partitions.path])
        }
    }

    private mutating func checkStore() {
        let store = settings.store
        if store.caFile != nil, case .redis(let url) = store.location, !url.secretValue.hasPrefix("rediss:") {
            sources.report(
                Keys.storeCAFile.path,
                "is of no use with redis://, which is not encrypted, write rediss:// or remove it",
                with: [Keys.store.path])
        }
        if store.failureRetention < store.retention {
            sources.report(
                Keys.failureRetention.path,
                "\(Units.durationText(store.failureRetention)) is below store.retention "
                    + "(\(Units.durationText(store.retention))), raise it to at least that",
                with: [Keys.retention.path])
        }
    }

    /// What is wrong with the defaults is reported once, there, and not for each org.
    private mutating func checkDefaults() {
        var own = SettingsReader(sources: sources)
        let backoff = Settings.Backoff(
            minimum: own.value(Keys.defaults.retryMinimum), maximum: own.value(Keys.defaults.retryMaximum))
        checkOrder(Keys.defaults.retryMinimum.path, backoff)
        let probe = Settings.Backoff(
            minimum: own.value(Keys.defaults.probeMinimum), maximum: own.value(Keys.defaults.probeMaximum))
        checkOrder(Keys.defaults.probeMinimum.path, probe)
        let deadline = own.optional(Keys.defaults.transferDeadline) ?? settings.commands.transferDeadline
        checkTimes([], own.value(Keys.defaults.callTimeout), deadline, own.value(Keys.defaults.budget))
    }

    /// - Parameter org: the path of the org, or empty for the defaults.
    private mutating func checkTimes(
        _ org: [String], _ callTimeout: Duration, _ transferDeadline: Duration, _ budget: Duration
    ) {
        let section = org.isEmpty ? ["defaults"] : org
        let store = settings.store
        let needed = callTimeout + store.timeout + CrossChecks.leaseMargin
        if store.lease <= needed {
            let path = org.isEmpty ? Keys.lease.path : org + ["callTimeout"]
            sources.report(
                path,
                "store.lease (\(Units.durationText(store.lease))) must be longer than callTimeout + store.timeout + 5s "
                    + "(\(Units.durationText(needed))), raise the lease or lower the timeouts",
                with: [Keys.storeTimeout.path, Keys.defaults.callTimeout.path])
        }
        if transferDeadline <= callTimeout {
            sources.report(
                section + ["callTimeout"],
                "\(Units.durationText(callTimeout)) is not below transferDeadline "
                    + "(\(Units.durationText(transferDeadline))), so that no transfer could be called, lower it",
                with: [section + ["transferDeadline"], Keys.transferDeadline.path])
        }
        if budget > store.retention {
            sources.report(
                section + ["retry", "budget"],
                "\(Units.durationText(budget)) is above store.retention (\(Units.durationText(store.retention))), "
                    + "lower it or raise the retention",
                with: [Keys.retention.path])
        }
    }

    /// Those of the main file: orgs with files of their own are checked with these files.
    private mutating func checkOrgs(_ environment: [String: String], _ purpose: Settings.Purpose) {
        let aliases = Set((sources.names[Keys.orgsSection] ?? []).map(\.name))
        if purpose == .worker, aliases.isEmpty, settings.orgsFolder == nil {
            sources.report([Keys.orgsSection], "no org is given, write at least one (ALIAS: {id: 00D…})")
        }
        var known: [OrgID: String] = [:]
        for org in settings.orgs where aliases.contains(org.alias) {
            if let other = known[org.id] {
                sources.report(
                    [Keys.orgsSection, org.alias, "id"], "is also the id of \(other), keep one org for it")
            }
            known[org.id] = known[org.id] ?? org.alias
            check(org, environment, purpose)
        }
    }

    /// What an org says itself.
    mutating func check(_ org: Settings.Org, _ environment: [String: String], _ purpose: Settings.Purpose) {
        let path = [Keys.orgsSection, org.alias]
        checkOwnOrder(Keys.org.retryMinimum, Keys.org.retryMaximum, of: org, org.retry.backoff)
        if let probe = org.parking?.probe {
            checkOwnOrder(Keys.org.probeMinimum, Keys.org.probeMaximum, of: org, probe)
        }
        if settings.http.proxy != nil {
            checkName(org.baseURL, Keys.org.baseURL, Keys.defaults.baseURL, of: org)
            if case .oauth(let credentials) = org.token {
                checkName(credentials.tokenURL, Keys.org.oauth.tokenURL, Keys.defaults.oauth.tokenURL, of: org)
            }
        }
        let times = [Keys.org.callTimeout, Keys.org.transferDeadline, Keys.org.budget]
        if times.contains(where: { sources.isWritten($0.path(org.alias)) }) {
            checkTimes(path, org.callTimeout, org.transferDeadline, org.retry.budget)
        }
        if purpose == .worker, case .environment(let name) = org.token, environment[name, default: ""].isEmpty {
            sources.report(
                path + ["tokenEnvironment"], "names the environment variable \(name), which is not set, set it")
        }
    }

    private mutating func checkOwnOrder(
        _ minimum: SettingKey<Duration>, _ maximum: SettingKey<Duration>, of org: Settings.Org,
        _ backoff: Settings.Backoff
    ) {
        guard sources.isWritten(minimum.path(org.alias)) || sources.isWritten(maximum.path(org.alias)) else { return }
        checkOrder(minimum.path(org.alias), backoff)
    }

    /// A certificate for an address would be checked against that of the peer, which is the proxy's.
    private mutating func checkName(
        _ url: String, _ key: SettingKey<String>, _ shared: SettingKey<String>, of org: Settings.Org
    ) {
        guard let parts = try? URLParts(url, schemes: ["https"]), parts.isAddress else { return }
        sources.report(
            key.path(org.alias),
            "names an address, whose certificate cannot be checked through http.proxy, write the name of the host",
            with: [shared.path])
    }

    private mutating func checkQueueOrgs() {
        let written = (sources.names[Keys.orgsSection] ?? []).map(\.name)
        let aliases = Set(written + settings.orgs.map(\.alias) + settings.misconfigured.map(\.alias)).sorted()
        // An org that could not be read is reported for itself; its id may be the one that is named here.
        let isComplete = aliases.count == settings.orgs.count
        for queue in settings.queues {
            for key in [Keys.defaultOrg, Keys.allowedOrgs] {
                let path = key.path(queue.name)
                for (name, place) in sources.written(path)?.texts ?? [] where !aliases.contains(name) {
                    let id = OrgID(name)
                    if let id, !isComplete || settings.orgs.contains(where: { $0.id == id }) { continue }
                    let nearest = Suggestion.nearest(to: name, among: aliases)
                    let elsewhere = settings.orgsFolder == nil ? "" : " or in orgsFolder"
                    let advice =
                        nearest.map { "did you mean \($0)?" }
                        ?? "write an alias or id that stands under orgs:\(elsewhere)"
                    sources.report(path, "\(shown(name)) is no org of these settings, \(advice)", at: place)
                }
            }
            if sources.written(Keys.allowedOrgs.path(queue.name))?.texts.isEmpty == true {
                sources.report(
                    Keys.allowedOrgs.path(queue.name), "is an empty list, remove the key to allow all orgs or name some"
                )
            }
            guard let name = queue.defaultOrg, !queue.allowedOrgs.isEmpty else { continue }
            let isAllowed = queue.allowedOrgs.contains { $0 == name || id(of: $0) != nil && id(of: $0) == id(of: name) }
            if !isAllowed {
                sources.report(
                    Keys.defaultOrg.path(queue.name), "\(shown(name)) is not among allowedOrgs, add it there")
            }
        }
    }

    private func id(of name: String) -> OrgID? {
        settings.orgs.first { $0.alias == name }?.id ?? OrgID(name)
    }
}

extension ReplyPattern {
    fileprivate var shown: String {
        switch self {
        case .directReplyTo: "amq.rabbitmq.reply-to"
        case .queue(let name): name
        case .prefix(let prefix): prefix + "*"
        }
    }
}
