// SIGHUP: reads the configuration again and brings what has changed into the running worker.

import InteractionAPI
import Logging
import NIOCore
import RouteWorker
import RoutingContract
import WorkerSettings

/// Brings changed settings into a running worker, one reload after another.
actor Reloader {
    /// Commands of an org that was removed may still be waiting, for as long as a retry budget allows (1 h): until then
    /// they are worked on by what the org had.
    private static let afterlife = Duration.seconds(2 * 3600)

    private let read: @Sendable () throws -> Settings
    private let caller: Caller
    private let pipeline: DeliveryPipeline
    private let logger: Logger
    private(set) var running: Settings
    private var removed: [(org: Settings.Org, at: ContinuousClock.Instant)] = []

    init(
        _ running: Settings, caller: Caller, pipeline: DeliveryPipeline, logger: Logger,
        read: @escaping @Sendable () throws -> Settings
    ) {
        self.running = running
        self.caller = caller
        self.pipeline = pipeline
        self.logger = logger
        self.read = read
    }

    func reload() async {
        let new: Settings
        do {
            new = try read()
        } catch {
            for line in "\(error)".split(separator: "\n") {
                logger.error("the new configuration is bad", metadata: [LogKey.error: "\(line)"])
            }
            logger.error("not reloaded: the worker goes on with the configuration it had")
            return
        }
        let (next, change) = running.reloading(new)
        let now = ContinuousClock.now
        // One that is back and misconfigured is not called with what it had before.
        let known = Set(next.orgDirectory.orgs.map(\.id))
        var gone = removed.filter { now - $0.at < Self.afterlife && !known.contains($0.org.id) }
        gone += running.orgs.filter { !known.contains($0.id) }.map { ($0, now) }
        do {
            try await apply(next, beside: gone.map(\.org))
        } catch {
            logger.error(
                "not reloaded: the worker goes on with the configuration it had",
                metadata: [LogKey.error: "\(error)"])
            return
        }
        removed = gone
        running = next
        // Also where it was changed over the admin port meanwhile.
        next.useLogLevel()
        report(change)
        next.reportMisconfigured(kept: change.kept, logger)
        next.reportReadableSecrets(of: Set(change.added + change.changed), logger)
    }

    /// All at once, within one turn of the home event loop.
    private func apply(_ next: Settings, beside gone: [Settings.Org]) async throws {
        var callable = next
        callable.orgs += gone
        let orgs = try caller.client.prepare(callable.endpoints, misconfigured: callable.misconfiguredOrgs)
        let (fixed, oauth) = callable.tokenSources
        try OAuthTokens.check(oauth)
        let decoder = CommandDecoder(rules: next.decodingRules, orgs: next.orgDirectory)
        let queueDefaults = next.consumedQueues.map { next.decodingDefaults(of: $0) }
        let policies = callable.policies
        try await pipeline.loop.submit { [caller, pipeline] in
            caller.client.replaceOrgs(with: orgs)
            caller.tokens.replace(fixed: fixed, oauth: oauth)
            pipeline.assumeIsolated {
                $0.replaceOrgs(decoder: decoder, queueDefaults: queueDefaults, policies: policies)
            }
        }.get()
    }

    private func report(_ change: SettingsChange) {
        var metadata: Logger.Metadata = [LogKey.orgs: "\(running.orgs.count)"]
        for (key, aliases) in [
            (LogKey.added, change.added), (LogKey.removed, change.removed), (LogKey.changed, change.changed),
        ] where !aliases.isEmpty {
            metadata[key] = "\(Self.list(aliases))"
        }
        if !change.needRestart.isEmpty {
            logger.warning(
                "changed settings that are not taken over before a restart",
                metadata: [LogKey.settings: "\(change.needRestart.joined(separator: ", "))"])
        }
        logger.info(change.isEmpty ? "reloaded: nothing has changed" : "reloaded", metadata: metadata)
    }

    /// Hundreds of names make no line that anybody reads.
    private static func list(_ aliases: [String]) -> String {
        let shown = aliases.prefix(20).joined(separator: ", ")
        return aliases.count > 20 ? "\(shown) and \(aliases.count - 20) more" : shown
    }
}

extension Settings {
    /// - Parameter kept: those that go on with what they had.
    func reportMisconfigured(kept: [String] = [], _ logger: Logger) {
        for org in misconfigured {
            let text: Logger.Message =
                kept.contains(org.alias)
                ? "an org's file is bad: it goes on with the settings it had"
                : "an org is misconfigured: no call is made for it until its file is mended and the worker reloads (SIGHUP)"
            for problem in org.problems {
                logger.error(text, metadata: [LogKey.org: "\(org.alias)", LogKey.error: "\(problem)"])
            }
        }
    }

    /// - Parameter aliases: the orgs to look at; `nil` for all.
    func reportReadableSecrets(of aliases: Set<String>? = nil, _ logger: Logger) {
        var files: Set<String> = []
        for org in orgs where aliases?.contains(org.alias) ?? true {
            for file in org.secretFiles.filter(SecretFiles.isOpenToOthers) where files.insert(file).inserted {
                logger.warning(
                    "a file with a secret can be read by every user of this machine: chmod o= it",
                    metadata: [LogKey.org: "\(org.alias)", LogKey.file: "\(file)"])
            }
        }
    }
}
