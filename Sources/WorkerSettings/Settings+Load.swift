// From file, environment and flags to settings, or to everything that is wrong with them.

import Foundation

extension Settings {
    /// What the settings are for.
    public enum Purpose: Sendable, Hashable {
        /// Running a worker: needs at least one org.
        case worker
        /// Anything else, such as publishing commands or declaring queues: orgs may be missing.
        case tools
    }

    /// Reads the settings: flags over environment over file over defaults.
    ///
    /// - Parameters:
    ///   - file: path of a YAML file of at most 1 MiB; `nil` for none.
    ///   - environment: all variables of the process; those that are no setting are not looked at, and one that is
    ///     empty counts as not set.
    ///   - flags: from key (`worker.concurrency`) to value. Settings under a name (of a queue or an org) have no flag,
    ///     and a URL with a password is refused: other users of the machine can read flags.
    /// - Throws: ``SettingsError`` with all problems; its description is meant for the user.
    public static func load(
        file: String?, environment: [String: String], flags: [String: String] = [:], purpose: Purpose = .worker
    ) throws(SettingsError) -> Settings {
        var problems = ProblemList()
        var document: SettingsDocument?
        if let file, let bytes = SettingsDocument.bytes(of: file, &problems) {
            document = SettingsDocument(bytes, name: file, &problems)
        }
        return try load(document, problems, environment, flags, purpose)
    }

    /// As ``load(file:environment:flags:purpose:)``, with the text of the file instead of its path.
    ///
    /// - Parameter name: stands for the path in messages.
    public static func load(
        text: String, named name: String, environment: [String: String] = [:], flags: [String: String] = [:],
        purpose: Purpose = .worker
    ) throws(SettingsError) -> Settings {
        try load(bytes: Array(text.utf8), named: name, environment: environment, flags: flags, purpose: purpose)
    }

    static func load(
        bytes: [UInt8], named name: String, environment: [String: String] = [:], flags: [String: String] = [:],
        purpose: Purpose = .worker
    ) throws(SettingsError) -> Settings {
        var problems = ProblemList()
        let document = SettingsDocument(bytes, name: name, &problems)
        return try load(document, problems, environment, flags, purpose)
    }

    private static func load(
        _ document: SettingsDocument?, _ problems: ProblemList, _ environment: [String: String],
        _ flags: [String: String], _ purpose: Purpose
    ) throws(SettingsError) -> Settings {
        // What follows from a file that could not be read says nothing new.
        if document?.root == nil { try problems.throwIfAny() }
        let sources = SettingsSources(
            document: document, environment: environment, flags: flags, problems: problems)
        var reader = SettingsReader(sources: sources)
        var settings = reader.settings()
        if let path = settings.orgsFolder {
            let folder = OrgsFolder(
                sources: sources, settings: settings, environment: environment, purpose: purpose)
            do throws(Refusal) {
                (settings.orgs, settings.misconfigured) = try folder.read(path)
            } catch {
                reader.sources.report(Keys.orgsFolder.path, error.reason)
            }
        }
        var checks = CrossChecks(sources: reader.sources, settings: settings)
        checks.run(purpose, environment: environment, flags: flags)
        try checks.sources.problems.throwIfAny(and: settings.misconfigured.flatMap(\.problems))
        return settings
    }
}

extension SettingsReader {
    mutating func settings() -> Settings {
        let worker = Settings.Worker(
            name: optional(Keys.workerName) ?? Self.processName(), concurrency: value(Keys.concurrency),
            drainTimeout: value(Keys.drainTimeout))
        let amqp = Settings.Broker(
            urls: list(Keys.brokerURL), caFile: optional(Keys.brokerCAFile),
            managementURL: optional(Keys.managementURL),
            certificateFile: optional(Keys.certificateFile), keyFile: optional(Keys.keyFile),
            heartbeat: value(Keys.heartbeat), connectTimeout: value(Keys.brokerConnectTimeout),
            reconnect: Settings.Backoff(minimum: value(Keys.reconnectMinimum), maximum: value(Keys.reconnectMaximum)))
        let answers = Settings.Answers(
            queue: value(Keys.resultsQueue), deadLetterQueue: value(Keys.deadLetterQueue),
            allowReplyTo: list(Keys.allowReplyTo), copyDirectReplies: value(Keys.copyDirectReplies),
            confirmTimeout: value(Keys.confirmTimeout))
        let deadLetters = Settings.DeadLetters(
            auditQueue: value(Keys.auditQueue), maximumAge: optional(Keys.maximumAge))
        let controls = Settings.Controls(
            isEnabled: value(Keys.controlsEnabled), queue: value(Keys.controlsQueue))
        let store = Settings.Store(
            location: value(Keys.store), caFile: optional(Keys.storeCAFile), retention: value(Keys.retention),
            failureRetention: value(Keys.failureRetention), lease: value(Keys.lease),
            timeout: value(Keys.storeTimeout), linger: value(Keys.linger))
        let commands = Settings.Commands(
            maximumBody: value(Keys.maximumBody), maximumDepth: value(Keys.maximumDepth),
            futureTolerance: value(Keys.futureTolerance), transferDeadline: value(Keys.transferDeadline),
            honourReplay: value(Keys.honourReplay), replayQueue: value(Keys.replayQueue),
            partitions: optional(Keys.partitions), partitionExchange: value(Keys.partitionExchange))
        let http = Settings.HTTP(
            connectTimeout: value(Keys.httpConnectTimeout), caFile: optional(Keys.httpCAFile),
            proxy: optional(Keys.proxy), maximumConnections: value(Keys.maximumConnections),
            idleTimeout: value(Keys.idleTimeout), maximumAnswer: value(Keys.maximumAnswer))
        let admin = Settings.Admin(
            isEnabled: value(Keys.adminEnabled), address: value(Keys.adminAddress),
            livenessLimit: value(Keys.livenessLimit))
        let log = Settings.Log(
            level: value(Keys.logLevel), format: value(Keys.logFormat), buffer: value(Keys.logBuffer))
        return Settings(
            worker: worker, amqp: amqp, queues: queues(worker), answers: answers,
            deadLetters: deadLetters, controls: controls, store: store, commands: commands, http: http,
            orgsFolder: optional(Keys.orgsFolder),
            orgs: orgs(worker, commands), misconfigured: [], admin: admin, log: log)
    }

    private mutating func queues(_ worker: Settings.Worker) -> [Settings.Queue] {
        var queues: [Settings.Queue] = []
        for name in list(Keys.queueNames) where !queues.contains(where: { $0.name == name }) {
            queues.append(
                Settings.Queue(
                    name: name,
                    prefetch: optional(Keys.prefetch, in: name) ?? min(2 * worker.concurrency, 65_535),
                    concurrency: value(Keys.queueConcurrency, in: name),
                    defaultOrg: optional(Keys.defaultOrg, in: name),
                    defaultContext: optional(Keys.queueContext, in: name),
                    allowedOrgs: list(Keys.allowedOrgs, in: name)))
        }
        return queues
    }

    /// The host's name and the process id: unique among the workers of a fleet, readable for operators.
    private static func processName() -> String {
        var buffer = [UInt8](repeating: 0, count: 256)
        let status = buffer.withUnsafeMutableBytes { bytes in
            bytes.withMemoryRebound(to: CChar.self) { gethostname($0.baseAddress!, $0.count - 1) }
        }
        let name = buffer.prefix(100).prefix { $0 > 0x20 && $0 < 0x7F }
        let host = status == 0 && !name.isEmpty ? String(decoding: name, as: UTF8.self) : "worker"
        return "\(host)-\(ProcessInfo.processInfo.processIdentifier)"
    }
}
