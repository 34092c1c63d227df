// Keys, assertions and tokens stay where they belong: no log line, answer or dead letter shows one.

import CommandClient
import Foundation
import InteractionSandbox
import TestSupport
import Testing

@Suite("Secrets", .serialized, .showsWorkerLog, .timeLimit(.minutes(2)))
struct SecretsTests {
    @Test("Whatever becomes of a command, no log line, answer or dead letter shows a token, a key or an assertion")
    func neverShown() async throws {
        var options = HarnessOptions(settings: [
            "log.level=trace", "defaults.retry.attempts=2", "defaults.retry.minimum=10ms",
            "defaults.probe.minimum=100ms",
            "defaults.probe.maximum=100ms", "defaults.tokenFile=fixed",
        ])
        options.usesOrgsFolder = true
        try await withHarness(options) { harness in
            let fixed = "a-secret-that-nobody-else-may-know"
            _ = try harness.folder.write(fixed, to: "fixed")
            let key = try await harness.addOAuthOrg("initech")
            let worker = try await harness.startWorker()
            let answers = try harness.collectAnswers()
            var sent = 0
            for org in ["acme", "initech"] {
                let id = org == "acme" ? "00D000000000001" : "00D000000000003"
                try await harness.send([.route(org: org), .route(org: org, deadline: -5)])
                sent += 2
                try await answers.answered(sent)
                for fault in [
                    Fault(.status, match: .init(org: id), next: 1, code: 10024),
                    Fault(.reset, match: .init(org: id), next: 1),
                    Fault(.status, match: .init(org: id), next: 2, code: 10055),
                ] {
                    try harness.sandbox.add(fault)
                    try await harness.send([.route(org: org)])
                    sent += 1
                    try await answers.answered(sent)
                }
                // Parked for its token, which is refused, and back again.
                try harness.sandbox.add(Fault(.status, match: .init(org: id), next: 2, code: 10004))
                try await harness.send([.route(org: org)])
                sent += 1
                try await answers.answered(sent)
            }
            #expect(Set(answers.all.map(\.outcome)) == [.succeeded, .expired, .rejected, .unknown, .exhausted])
            #expect(await worker.stop() == .code(0))
            let letters = try await harness.take(from: harness.deadLetters)
            #expect(letters.count >= 8)
            let pem = try String(contentsOfFile: key, encoding: .utf8).split(separator: "\n").filter { $0.count == 64 }
            // The sandbox's tokens begin with their org, and an assertion with its header.
            let secrets = [fixed, "00D000000000003!", "eyJ", "Bearer", "PRIVATE KEY"] + pem.map { String($0) }
            let raw = answers.all.map { String(reflecting: $0) } + letters.map { String(reflecting: $0) }
            let bodies = (letters.map(\.body) + answers.all.map(\.body)).map { String(decoding: $0, as: UTF8.self) }
            for text in [worker.transcript] + raw + bodies {
                for secret in secrets { #expect(!text.contains(secret), "\(secret.prefix(8))… is shown") }
            }
            #expect(worker.transcript.contains("exhausted"))
        }
    }
}
