// What a worker takes over from new settings.

import RoutingContract
import Testing

@testable import WorkerSettings

@Suite struct SettingsChangeTests {
    private func org(_ alias: String, _ id: Int, _ more: String = "") -> String {
        "  \(alias): {id: 00D00000000000\(id), baseURL: https://a.example.com, tokenFile: t\(more)}\n"
    }

    @Test func orgsComeGoAndChange() throws {
        let old = try load("orgs:\n" + org("a", 1) + org("b", 2) + org("c", 3))
        let new = try load("orgs:\n" + org("a", 1) + org("b", 2, ", callTimeout: 3s") + org("d", 4))
        let (settings, change) = old.reloading(new)
        #expect(settings.orgs == new.orgs)
        #expect(change == SettingsChange(added: ["d"], removed: ["c"], changed: ["b"]))
        #expect(old.reloading(old).change.isEmpty)
    }

    @Test func theSharedDefaultsChangeWhoTakesThemOver() throws {
        let old = try load("orgs:\n" + org("a", 1) + org("b", 2, ", callTimeout: 3s"))
        let new = try load("defaults: {callTimeout: 5s}\norgs:\n" + org("a", 1) + org("b", 2, ", callTimeout: 3s"))
        #expect(old.reloading(new).change == SettingsChange(changed: ["a"]))
    }

    @Test func aNewAliasIsAChangeOfTheOrg() throws {
        let old = try load("orgs:\n" + org("a", 1))
        #expect(old.reloading(try load("orgs:\n" + org("b", 1))).change == SettingsChange(changed: ["b"]))
    }

    @Test func anOrgWhoseFileBecameBadGoesOn() throws {
        let old = try load("orgs:\n" + org("a", 1) + org("b", 2))
        var new = try load("orgs:\n" + org("a", 1))
        new.misconfigured = [MisconfiguredOrg(alias: "b", id: nil, file: "b.yaml", problems: [])]
        let (settings, change) = old.reloading(new)
        #expect(settings.orgs == old.orgs)
        #expect(change == SettingsChange(kept: ["b"]))
        #expect(settings.orgDirectory.find("b")?.id == OrgID("00D000000000002"))
        // Unless its id stands elsewhere now.
        let moved = try load("orgs:\n" + org("a", 1) + org("c", 2))
        new.orgs = moved.orgs
        #expect(old.reloading(new).settings.orgs == moved.orgs)
    }

    @Test func commandsAndQueueDefaultsAreTakenOver() throws {
        let old = try load(minimal)
        let new = try load(
            minimal + """
                commands: {maximumBody: 1KiB}
                answers: {allowReplyTo: ["mine.*"]}
                queues: {routing.commands: {defaultOrg: acme, allowedOrgs: [acme], defaultContext: P_D}}

                """)
        let (settings, change) = old.reloading(new)
        #expect(settings == new)
        #expect(change == SettingsChange(touchesCommands: true))
    }

    @Test func theLogLevelIsTakenOver() throws {
        let (settings, change) = try load(minimal).reloading(try load(minimal + "log: {level: debug}\n"))
        #expect(settings.log.level == .debug && change.touchesLog && change.needRestart.isEmpty)
    }

    @Test(
        "What needs a restart is named and left as it was",
        arguments: [
            (
                "worker: {name: other, concurrency: 65, drainTimeout: 1s}\n",
                ["worker.name", "worker.concurrency", "worker.drainTimeout", "queues.NAME.prefetch"]
            ),
            (
                "amqp: {url: 'amqp://u:secret@h/', heartbeat: 10s, caFile: c}\n",
                ["amqp.url", "amqp.caFile", "amqp.heartbeat"]
            ),
            ("queues: {other: {}}\n", ["queues"]),
            (
                "queues: {routing.commands: {prefetch: 9, concurrency: 2}}\n",
                ["queues.NAME.prefetch", "queues.NAME.concurrency"]
            ),
            (
                "answers: {queue: r, deadLetterQueue: d, copyDirectReplies: false}\n",
                ["answers.queue", "answers.deadLetterQueue", "answers.copyDirectReplies"]
            ),
            ("commands: {replayQueue: again}\n", ["commands.replayQueue"]),
            ("store: {url: 'memory:', lease: 50s}\n", ["store.url", "store.lease"]),
            ("http: {maximumConnections: 9}\n", ["http.maximumConnections"]),
            (
                "admin: {enabled: false, address: '0.0.0.0:1', livenessLimit: 5m}\n",
                ["admin.enabled", "admin.address", "admin.livenessLimit"]
            ),
            ("log: {format: json, buffer: 64KiB}\n", ["log.format", "log.buffer"]),
        ] as [(String, [String])])
    func restart(text: String, keys: [String]) throws {
        var old = try load(minimal)
        let new = try load(minimal + text)
        let (settings, change) = old.reloading(new)
        #expect(change.needRestart == keys)
        // An org's limit follows the worker's concurrency where it has none of its own.
        old.orgs = new.orgs
        #expect(settings == old)
    }

    /// A setting that is neither taken over nor named would be lost in silence.
    @Test func everySettingIsEitherTakenOverOrNamed() throws {
        let takenOver: Set<String> = [
            "queues.NAME.defaultOrg", "queues.NAME.defaultContext", "queues.NAME.allowedOrgs", "answers.allowReplyTo",
            "orgsFolder", "log.level", "amqp.managementURL",
        ]
        let old = try load(minimal)
        var other = old
        other.worker = .init(name: "o", concurrency: 1, drainTimeout: .zero)
        other.amqp = .init(
            urls: [], caFile: "o", managementURL: nil,
            certificateFile: "o", keyFile: "o", heartbeat: .zero, connectTimeout: .zero,
            reconnect: .init(minimum: .zero, maximum: .zero))
        other.answers = .init(
            queue: "o", deadLetterQueue: "o", allowReplyTo: [], copyDirectReplies: false, confirmTimeout: .zero)
        other.deadLetters = .init(auditQueue: "o", maximumAge: .seconds(60))
        other.controls = .init(isEnabled: false, queue: "o")
        other.queues[0].prefetch += 1
        other.queues[0].concurrency += 1
        other.queues.append(other.queues[0])
        other.store = .init(
            location: .memory, caFile: "o", retention: .zero, failureRetention: .zero, lease: .zero, timeout: .zero,
            linger: .seconds(1))
        other.http = .init(
            connectTimeout: .zero, caFile: "o", proxy: try load(minimal + "http: {proxy: 'http://p:1'}\n").http.proxy,
            maximumConnections: 1, idleTimeout: .zero, maximumAnswer: 1)
        other.admin = .init(isEnabled: false, address: .init(host: "o", port: 1), livenessLimit: .zero)
        other.log = .init(level: .trace, format: .json, buffer: 0)
        let named = Set(old.reloading(other).change.needRestart)
        for entry in SettingsReference.entries {
            let isOfOrgsOrCommands = ["orgs", "defaults", "commands"].contains(entry.path[0]) && entry.path.count > 1
            #expect(
                isOfOrgsOrCommands || takenOver.contains(entry.key) != named.contains(entry.key), "\(entry.key)")
        }
    }
}
