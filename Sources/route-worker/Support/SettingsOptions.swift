// The options that every command with a configuration has.

import AMQP
import ArgumentParser
import Foundation
import Logging
import WorkerLog
import WorkerSettings

struct SettingsOptions: ParsableArguments {
    @Option(
        name: [.short, .customLong("config")],
        help: ArgumentHelp(
            "The configuration file (YAML); without it the environment and --set say all.", valueName: "file"),
        completion: .file(extensions: ["yaml", "yml"]))
    var config: String?

    @Option(
        name: .customLong("set"), parsing: .singleValue,
        help: ArgumentHelp(
            "A setting over file and environment, such as worker.concurrency=128; may be repeated.",
            valueName: "key=value"))
    var set: [String] = []

    func validate() throws { _ = try flags() }

    /// - Parameter overriding: settings over all others.
    func load(for purpose: Settings.Purpose, with overriding: [String: String] = [:]) throws -> Settings {
        let flags = try flags().merging(overriding) { $1 }
        do {
            return try Settings.load(
                file: config, environment: ProcessInfo.processInfo.environment, flags: flags, purpose: purpose)
        } catch {
            let hint = config == nil ? "\nno configuration file was given; name it with --config" : ""
            throw CommandFailure.configuration(error.description + hint)
        }
    }

    private func flags() throws -> [String: String] {
        var flags: [String: String] = [:]
        for assignment in set {
            guard let equals = assignment.firstIndex(of: "=") else {
                throw ValidationError("--set takes key=value, such as worker.concurrency=128, not '\(assignment)'")
            }
            flags[String(assignment[..<equals])] = String(assignment[assignment.index(after: equals)...])
        }
        return flags
    }
}

extension Settings {
    /// How much of what there is.
    var summary: String { "\(counted(orgs.count, "org")), \(counted(queues.count, "commands queue"))" }

    /// - Parameter role: what the connection is for; shown by the broker's management page behind the worker's name.
    func brokerConfiguration(_ role: String) throws -> AMQPConfiguration {
        do {
            // What stands in a URL wins over the keys beside it.
            let base = AMQPEndpoint(
                tls: TLSSettings(
                    certificateAuthorities: amqp.caFile, certificate: amqp.certificateFile, privateKey: amqp.keyFile),
                heartbeat: amqp.heartbeat, connectionTimeout: amqp.connectTimeout)
            return try AMQPConfiguration(
                endpoints: amqp.urls.map { try AMQPEndpoint(url: $0.secretValue, over: base) },
                connectionName: "\(worker.name) \(role)",
                backoff: AMQP.Backoff(minimum: amqp.reconnect.minimum, maximum: amqp.reconnect.maximum))
        } catch {
            throw CommandFailure.configuration("amqp.url: \(error)")
        }
    }

    func makeLogger(_ label: String) -> Logger {
        let log = makeLog(label)
        return Logger(label: label) { _ in LineLogHandler(log) }
    }

    /// Its level is that of the process, which becomes that of these settings.
    func makeLog(_ label: String) -> LineLog {
        useLogLevel()
        return LineLog(label: label, format: log.format == .json ? .json : .human)
    }

    /// Makes log lines be written as the settings say, also in a crash.
    func startLog() {
        let writer = LogWriter.standardError
        writer.use(capacity: log.buffer)
        writer.noteDropped(by: makeLog("log").dropped)
        writer.flushOnCrash()
    }

    func useLogLevel() { LogThreshold.shared.level = Logger.Level(rawValue: log.level.rawValue) ?? .info }
}
