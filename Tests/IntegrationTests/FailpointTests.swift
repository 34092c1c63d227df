// A worker that dies at each step of a delivery, and what the next one makes of it: one effect or an honest `unknown`,
// and always an answer.

import CommandClient
import Failpoints
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Killed at every step", .serialized, .showsWorkerLog, .timeLimit(.minutes(8)))
struct FailpointTests {
    /// Whose command the worker dies with.
    enum Kind: String, CaseIterable {
        /// A route whose org wants unknown effects reported.
        case report
        /// A route whose org wants them called again.
        case retry
        /// A route whose org wants its conversation cleared first.
        case clear
        case delete
    }

    /// One command that a worker dies with, on a queue of its own.
    struct Victim {
        let point: Failpoint
        let kind: Kind
        /// Where the worker that comes next dies too.
        var next: Failpoint?
        let conversation = newID()
        let command: CommandSpec

        init(_ point: Failpoint, _ kind: Kind, next: Failpoint? = nil) {
            (self.point, self.kind, self.next) = (point, kind, next)
            switch kind {
            case .report: command = .route(conversation)
            case .retry: command = .route(conversation, org: "umbrella")
            case .clear: command = .route(conversation, org: "initech")
            case .delete: command = .delete(conversation)
            }
        }

        var suffix: String { "commands-\(point.rawValue)-\(kind.rawValue)\(next == nil ? "" : "-twice")" }
        var isInterrupted: Bool { inFlight.contains(point) }
    }

    /// Between claim and record: there the policies of the orgs differ.
    private static let inFlight: [Failpoint] = [.afterClaim, .beforeSend, .afterSend, .afterAnswer, .beforeRecord]
    /// That one has a test of its own.
    private static let onTheWay = Failpoint.allCases.filter { $0 != .afterParking }

    private static var victims: [Victim] {
        [Victim(.afterClaim, .report, next: .afterRecord), Victim(.afterSend, .report, next: .afterConfirm)]
            + onTheWay.flatMap { point in
                (inFlight.contains(point) ? Kind.allCases : [.report]).map { Victim(point, $0) }
            }
    }

    @Test("Every command has one effect or an honest unknown, and the same answer whenever it is given")
    func everyStep() async throws {
        // Together, so that the leases that have to run out are waited for once.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for store in HarnessOptions.Store.allCases { group.addTask { try await Self.everyStep(store) } }
            try await group.waitForAll()
        }
    }

    private static func everyStep(_ store: HarnessOptions.Store) async throws {
        let victims = victims
        let options = HarnessOptions(
            queues: victims.map { ($0.suffix, "{}") },
            orgs: [
                ("umbrella", "00D000000000003AAA", "unknownEffect: retry"),
                ("initech", "00D000000000004AAA", "unknownEffect: clear-then-route"),
            ], settings: shortLease, store: store)
        try await withHarness(options) { harness in
            // What the deletes are to clear.
            let routed = victims.filter { $0.kind == .delete }.map { CommandSpec.route($0.conversation) }
            let first = try await harness.startWorker()
            try await harness.send(routed)
            let answers = try harness.collectAnswers()
            try await answers.first(routed.count)
            #expect(await first.stop() == .code(0))

            for (queue, victim) in victims.enumerated() {
                try await harness.send([victim.command], to: queue)
                let worker = try harness.startDoomedWorker(at: victim.point, queue: queue)
                #expect(await worker.exit() == .signal(SIGKILL), "\(store), \(victim.suffix)")
            }
            for (queue, victim) in victims.enumerated() {
                guard let next = victim.next else { continue }
                let worker = try harness.startDoomedWorker(at: next, queue: queue)
                #expect(await worker.exit() == .signal(SIGKILL), "\(store), \(victim.suffix)")
            }

            let last = try await harness.startWorker()
            try await until("an answer to every command") {
                Set(victims.map(\.command.id)).isSubset(of: answers.all.compactMap(\.requestID))
            }
            let requests = harness.sandbox.ledger().count
            // What the store holds shows when each is sent once more.
            try await harness.send(victims.map { $0.command.replying(correlationID: "again") })
            try await until("the answers to the commands sent again") {
                answers.all.count { $0.correlationID == "again" } >= victims.count
            }
            #expect(await last.stop() == .code(0))
            #expect(harness.sandbox.ledger().count == requests, "\(store): a call for a command that had ended")
            for queue in harness.queues { #expect(try await harness.left(in: queue) == 0) }
            let letters = try await harness.take(from: harness.deadLetters)
            for victim in victims {
                check(
                    victim, answers.all.filter { $0.requestID == victim.command.id },
                    letters: letters.filter { $0.requestID == victim.command.id }.map(\.outcome),
                    harness.sandbox.effects(of: victim.command.id), store)
                // However often it was made, one is left.
                guard victim.kind == .clear else { continue }
                let waiting = harness.sandbox.routings(conversation: victim.conversation).count { $0.state == .waiting }
                #expect(waiting == 1, "\(store), \(victim.suffix)")
            }
        }
    }

    private static func check(
        _ victim: Victim, _ answers: [Answer], letters: [String?], _ effects: EffectCount,
        _ store: HarnessOptions.Store
    ) {
        let place = Comment(rawValue: "\(store), \(victim.suffix): \(effects), \(answers)")
        let isUnknown = victim.kind == .report && victim.isInterrupted
        #expect(Set(answers.map(\.outcome)) == [isUnknown ? .unknown : .succeeded], place)
        #expect(Set(answers.map(\.messageID)).count == 1 && answers[0].messageID != nil, place)
        #expect(answers.dropFirst().allSatisfy { $0.duplicate }, place)
        #expect(answers.count >= 2, place)
        #expect(letters.isEmpty != isUnknown && letters.allSatisfy { $0 == "unknown" }, place)
        if isUnknown { #expect(answers.allSatisfy { $0.reason == "interrupted" }, place) }

        // Whether the request of the worker that died was sent, where that is certain.
        let before: ClosedRange<Int> =
            switch victim.point {
            case .afterClaim, .beforeSend: 0...0
            case .afterSend: 0...1
            case .afterAnswer, .beforeRecord: 1...1
            case .afterDeliver, .afterDecode, .beforeClaim, .afterRecord, .afterPublish, .afterConfirm, .afterAck,
                .afterParking:
                0...0
            }
        let after = isUnknown ? 0 : 1
        #expect((before.lowerBound + after...before.upperBound + after).contains(effects.requests), place)
        switch victim.kind {
        case .report, .retry, .clear: #expect(effects.effects == effects.requests, place)
        case .delete: #expect(effects.effects == 1 && effects.cleared == 1, place)
        }
        switch victim.point {
        // Found in the store by the next worker, which has nothing else to say.
        case .afterRecord: #expect(answers.allSatisfy { $0.duplicate }, place)
        // Confirmed by then, and repeated by the next worker.
        case .afterConfirm: #expect(answers.count >= 3 && !answers[0].duplicate, place)
        case .afterDeliver, .afterDecode, .beforeClaim, .afterClaim, .beforeSend, .afterSend, .afterAnswer,
            .beforeRecord:
            #expect(victim.next != nil || !answers[0].duplicate, place)
        case .afterPublish, .afterAck, .afterParking: break
        }
    }

    @Test(
        "A command that was parked and not acknowledged comes back twice and is called once",
        arguments: HarnessOptions.Store.allCases)
    func afterParking(store: HarnessOptions.Store) async throws {
        try await withHarness(HarnessOptions(settings: Self.shortLease, store: store)) { harness in
            try harness.sandbox.add(Fault(shorthand: "10003@x1"))
            let command = CommandSpec.route()
            try await harness.send([command])
            let worker = try harness.startDoomedWorker(at: .afterParking, queue: 0)
            #expect(await worker.exit() == .signal(SIGKILL))

            let answers = try harness.collectAnswers()
            let last = try await harness.startWorker()
            try await answers.first(2)
            #expect(await last.stop() == .code(0))
            #expect(answers.all.map(\.outcome) == [.succeeded, .succeeded])
            #expect(answers.all.map(\.duplicate) == [false, true])
            #expect(Set(answers.all.map(\.messageID)).count == 1)
            #expect(harness.sandbox.effects(of: command.id).effects == 1)
            for queue in harness.queues + harness.parkingQueues where try await harness.ready(in: queue) != nil {
                #expect(try await harness.left(in: queue) == 0)
            }
        }
    }

    /// As short as the settings allow with a call's time limit that a busy machine keeps.
    static let shortLease = ["defaults.callTimeout=5s", "store.timeout=1s", "store.lease=11500ms"]
}
