// What each fault of the sandbox comes to: outcome, answer, dead letter, and what the ledger shows.

import AMQPMessage
import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Outcomes of faults", .showsWorkerLog, .timeLimit(.minutes(4)))
struct FaultOutcomeTests {
    /// A route under the policy `report`, all of whose calls (or the first so many) meet a fault.
    struct Case: Sendable {
        let fault: String
        let outcome: Outcome
        var code: Int?
        /// Requests that reached the sandbox; three are all that the budget allows.
        let requests: Int
        /// How often they took effect.
        let effects: Int

        init(_ fault: String, _ outcome: Outcome, code: Int? = nil, requests: Int, effects: Int) {
            self.fault = fault
            self.outcome = outcome
            self.code = code
            self.requests = requests
            self.effects = effects
        }
    }

    static let cases = [
        // Refused for now, without effect: tried again until the budget ends.
        Case("429", .exhausted, requests: 3, effects: 0), Case("503", .exhausted, requests: 3, effects: 0),
        Case("408", .exhausted, requests: 3, effects: 0),
        Case("10019", .exhausted, code: 10019, requests: 3, effects: 0),
        Case("20004", .exhausted, code: 20004, requests: 3, effects: 0),
        Case("failure:10055", .exhausted, code: 10055, requests: 3, effects: 0),
        Case("503@x2", .succeeded, requests: 3, effects: 1),
        // A 503 is believed: Salesforce that did what it refused would do so three times.
        Case("503-after", .exhausted, requests: 3, effects: 3),
        // Refused for good.
        Case("400", .rejected, requests: 1, effects: 0),
        Case("10032", .rejected, code: 10032, requests: 1, effects: 0),
        Case("failure", .rejected, code: 10058, requests: 1, effects: 0),
        Case("failure:10024", .rejected, code: 10024, requests: 1, effects: 0),
        // The org's trouble, which uses up the budget of an org that is not parked.
        Case("10003", .exhausted, code: 10003, requests: 3, effects: 0),
        Case("10005", .exhausted, code: 10005, requests: 3, effects: 0),
        Case("10099", .exhausted, code: 10099, requests: 3, effects: 0),
        Case("10004", .exhausted, code: 10004, requests: 3, effects: 0),
        // Nobody knows: no second call.
        Case("500", .unknown, requests: 1, effects: 0), Case("502", .unknown, requests: 1, effects: 0),
        Case("504", .unknown, requests: 1, effects: 0), Case("500-after", .unknown, requests: 1, effects: 1),
        Case("10094", .unknown, code: 10094, requests: 1, effects: 0),
        Case("failure:10094", .unknown, code: 10094, requests: 1, effects: 0),
        Case("reset", .unknown, requests: 1, effects: 0), Case("reset-after", .unknown, requests: 1, effects: 1),
        Case("close", .unknown, requests: 1, effects: 0), Case("close-after", .unknown, requests: 1, effects: 1),
        Case("hang", .unknown, requests: 1, effects: 0), Case("hang-after", .unknown, requests: 1, effects: 1),
        Case("slow-body", .unknown, requests: 1, effects: 1), Case("cut-body", .unknown, requests: 1, effects: 1),
        Case("not-json", .unknown, requests: 1, effects: 1), Case("empty-body", .unknown, requests: 1, effects: 1),
        // Below and above the call's time-out.
        Case("latency=50", .succeeded, requests: 1, effects: 1),
        Case("latency=60000", .unknown, requests: 1, effects: 1),
    ]

    /// Each case has an org of its own, so that none is held back by the trouble of another.
    private var options: HarnessOptions {
        HarnessOptions(
            orgs: Self.cases.indices.map { ("case-\($0)", Self.org($0), "") },
            settings: [
                "worker.concurrency=100", "defaults.callTimeout=5s", "defaults.parking=false",
                "defaults.retry.attempts=3", "defaults.retry.minimum=10ms", "defaults.retry.maximum=50ms",
            ])
    }

    private static func org(_ index: Int) -> String { "00D0000000001" + (index < 10 ? "0\(index)" : "\(index)") }

    @Test("Each fault ends in its outcome; answer, dead letter and ledger agree")
    func faults() async throws {
        try await withHarness(options) { harness in
            let commands = Self.cases.indices.map { CommandSpec.route(newID(), org: Self.org($0)) }
            for (fault, command) in zip(Self.cases, commands) {
                var rule = try Fault(shorthand: fault.fault)
                rule.match.requestID = command.id
                try harness.sandbox.add(rule)
            }
            let worker = try await harness.startWorker()
            let collector = try harness.collectAnswers()
            try await harness.send(commands)
            let answers = try await collector.first(commands.count)
            #expect(await worker.stop() == .code(0))
            let letters = try await harness.take(from: harness.deadLetters)

            for (fault, command) in zip(Self.cases, commands) {
                let what = Comment(rawValue: fault.fault)
                let answer = try #require(answers.first { $0.requestID == command.id }, what)
                #expect(answer.outcome == fault.outcome, what)
                if let code = fault.code { #expect(answer.errorCode == code, what) }
                let count = harness.sandbox.effects(of: command.id)
                #expect(count.requests == fault.requests && count.effects == fault.effects, "\(what): \(count)")
                let letter = letters.first { $0.requestID == command.id }
                #expect((letter == nil) == (fault.outcome == .succeeded), what)
                guard let letter else { continue }
                agree(letter, answer, what)
                #expect(letter.body == command.message.body, what)
            }
        }
    }

    @Test("What would be refused anyway is not called for, and named as Salesforce would name it")
    func localRefusals() async throws {
        func route(_ code: Int, _ payload: String, org: String = "acme") -> (code: Int, command: CommandSpec) {
            let spec = CommandSpec(kind: "route", requestID: newID(), org: org, payload: Array(payload.utf8))
            return (code, spec)
        }
        func info(_ text: String) -> String {
            #"{"conversationIdentifier":"c","routingType":"Initial","routingInfo":\#(text)}"#
        }
        let flow = #"{"flowId":"300SB0000000001","queueId":"00GSB0000000001"}"#
        let refused = [
            route(10016, #"{"conversationIdentifier":"c","routingType":"Initial"}"#, org: "nobody"),
            route(10018, #"{"routingType":"Initial"}"#),
            route(10024, info(#"{"flow":{"flowId":"300SB0000000001"}}"#)),
            route(10030, info(#"{"flow":\#(flow),"queueId":"00GSB0000000001"}"#)),
            route(10032, info(#"{"queueId":""}"#)), route(10100, ""),
        ]
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let collector = try harness.collectAnswers()
            try await harness.send(refused.map(\.command))
            let answers = try await collector.first(refused.count)
            #expect(await worker.stop() == .code(0))
            let letters = try await harness.take(from: harness.deadLetters)
            for (code, command) in refused {
                let what = Comment(rawValue: "\(code)")
                let answer = try #require(answers.first { $0.requestID == command.id }, what)
                #expect(answer.outcome == .invalid && answer.errorCode == code && answer.attempts == 0, what)
                agree(try #require(letters.first { $0.requestID == command.id }, what), answer, what)
            }
            #expect(harness.sandbox.ledger().isEmpty && letters.count == refused.count)
        }
    }

    /// A dead letter says what its answer says.
    private func agree(_ letter: Message, _ answer: Answer, _ what: Comment) {
        let letter = RoutingContract.DeadLetter(letter)
        #expect(letter.outcome == answer.outcome.rawValue, what)
        #expect(letter.reason != nil && letter.reason == answer.reason, what)
        #expect(letter.code == answer.errorCode && letter.httpStatus == answer.httpStatus, what)
        #expect(letter.attempts == answer.attempts && letter.error == answer.errorMessage, what)
    }
}
