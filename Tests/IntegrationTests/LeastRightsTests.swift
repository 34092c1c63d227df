// The rights on the broker that the README gives a worker are enough for all that it does.

import CommandClient
import Foundation
import InteractionSandbox
import TestSupport
import Testing

@Suite("Least rights", .serialized, .showsWorkerLog, .timeLimit(.minutes(4)))
struct LeastRightsTests {
    private typealias Run = CommandLineTests.Run

    @Test("With the README's rights a worker shares partitions, parks, answers, writes dead letters and heeds controls")
    func worker() async throws {
        try await withPrivateBroker(plugins: ["rabbitmq_consistent_hash_exchange"]) { broker in
            let settings = ["defaults.probe.minimum=100ms", "defaults.probe.maximum=400ms"]
            let options = HarnessOptions(partitions: 2, settings: settings, brokerURL: broker.url)
            try await withHarness(options) { harness in
                let prefix = String(harness.queues[0].dropLast(".commands".count))
                try await broker.ctl(["add_user", "worker", "secret"])
                try await broker.ctl(
                    ["set_permissions", "worker"]
                        + Self.rights().map { $0.replacing(#"^routing\."#, with: "^\(prefix)\\.") })
                let environment = ["AMQP_URL": broker.url.replacing("guest:guest", with: "worker:secret")]
                let run = await Run(try harness.tool("check", environment: environment))
                #expect(run.exit == .code(0) && !run.output.contains("it may not"), "\(run.output)")

                try harness.sandbox.add(Fault(.status, match: .init(org: "00D000000000001"), status: 503))
                let worker = try await harness.startWorker(environment: environment)
                try await harness.sharedEvenly(among: [worker])
                let answers = try harness.collectAnswers()
                try await harness.send([.route()])
                try await until("a parked command") { try await harness.parked() == 1 }
                let sender = CommandSender(
                    harness.broker, exchange: try #require(harness.partitioned).exchange, queue: harness.queues[0])
                let failing = CommandSpec.route(org: "nobody").routedByConversation
                let sent = try await sender.send([failing], awaitingAnswers: .seconds(60))
                #expect(sent[0].answer?.outcome == .invalid)
                #expect(try await harness.deadLetter().requestID == failing.id)
                harness.sandbox.removeFaults()
                try await until("the parked command's answer") { answers.all.contains { $0.outcome == .succeeded } }
                let paused = await Run(try harness.tool("pause", ["--reason", "incident 4711"]))
                #expect(paused.exit == .code(0), "\(paused.error)")
                try await worker.line(containing: "incident 4711")
                #expect(await worker.stop() == .code(0))
                #expect(!worker.transcript.contains("ACCESS_REFUSED"))
            }
        }
    }

    @Test("The trial with Docker gives its worker the README's rights")
    func compose() throws {
        struct Definitions: Decodable {
            struct Permission: Decodable {
                var user: String
                var configure: String
                var write: String
                var read: String
            }
            var permissions: [Permission]
        }
        let file = try PackageFolder.url.appending(path: "deploy/compose/definitions.json")
        let permissions = try JSONDecoder().decode(Definitions.self, from: Data(contentsOf: file)).permissions
        let worker = try #require(permissions.first { $0.user == "worker" })
        #expect(try [worker.configure, worker.write, worker.read] == Self.rights())
    }

    /// To configure, write and read.
    private static func rights() throws -> [String] {
        let readme = try String(contentsOf: PackageFolder.url.appending(path: "README.md"), encoding: .utf8)
        let command = try #require(readme.firstMatch(of: /rabbitmqctl set_permissions worker[^`]*/)).output
        let rights = command.split(separator: "'").filter { $0.hasPrefix("^") }.map(String.init)
        try #require(rights.count == 3)
        return rights
    }
}
