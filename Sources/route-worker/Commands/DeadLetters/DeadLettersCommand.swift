// `route-worker dead-letters`: what failed, to be looked at and to be dealt with.

import AMQP
import ArgumentParser
import DeadLetters
import IdempotencyStore
import RoutingContract
import WorkerSettings

struct DeadLettersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dead-letters",
        abstract: "Shows commands that failed, calls for them again, or closes them.",
        discussion: """
            Looking (list, show, export, trail) changes neither order nor content, also when it is interrupted. replay, discard \
            and resolve take a dead letter away only when what they do is confirmed by the broker, and leave a trail of who \
            did it, when and why. One operator works at a time: a second one is told who, or waits with --wait.

            One look reaches the \(HeldQueue.limit) oldest. All times are in UTC.

            EXAMPLES
              route-worker dead-letters list -c worker.yaml --group
              route-worker dead-letters show -c worker.yaml 7e0a3c52-…
              route-worker dead-letters replay -c worker.yaml --org acme \\
                --outcome exhausted --dry-run
              route-worker dead-letters discard -c worker.yaml --older-than 30d \\
                --reason "too old to matter"
              route-worker dead-letters resolve -c worker.yaml 7e0a… --as succeeded \\
                --reason "seen in Salesforce"
            """,
        subcommands: [
            List.self, Show.self, Export.self, Replay.self, Discard.self, Resolve.self, Trail.self,
        ])
}

/// Which dead letters.
struct DeadLetterFilterOptions: ParsableArguments {
    @Option(
        name: .customLong("request-id"), parsing: .singleValue,
        help: ArgumentHelp("Only this RequestId; may be repeated.", valueName: "id"))
    var requests: [String] = []

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp("Only this org, by alias or id; may be repeated.", valueName: "org"))
    var org: [String] = []

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "Only this outcome: rejected, invalid, conflict, expired, exhausted or unknown (or succeeded and superseded, where the answer had nowhere to go); may be repeated.",
            valueName: "outcome"))
    var outcome: [String] = []

    @Option(
        parsing: .singleValue,
        help: ArgumentHelp(
            "Only what failed for this reason, as the column FAILURE shows it; may be repeated.", valueName: "reason"))
    var failure: [String] = []

    @Option(
        help: ArgumentHelp(
            "Only what was dead-lettered longer ago than this (12h, 30d) or before this moment (RFC 3339).",
            valueName: "age"))
    var olderThan: String?

    @Option(
        help: ArgumentHelp(
            "Only what was dead-lettered within this time (12h, 30d) or since this moment (RFC 3339).",
            valueName: "age"))
    var newerThan: String?

    func validate() throws {
        for outcome in outcome where Outcome(rawValue: outcome) == nil {
            throw ValidationError(
                "--outcome \(outcome): outcomes are " + Outcome.allCases.map(\.rawValue).joined(separator: ", "))
        }
        for (option, text) in [("--older-than", olderThan), ("--newer-than", newerThan)] {
            if let text { _ = try Self.moment(text, option, before: Timestamp(milliseconds: 0)) }
        }
    }

    var isEmpty: Bool {
        requests.isEmpty && org.isEmpty && outcome.isEmpty && failure.isEmpty && olderThan == nil && newerThan == nil
    }

    /// - Parameter more: further RequestIds.
    func filter(_ settings: Settings, _ names: OrgNames, requests more: [String] = [], now: Timestamp) throws
        -> DeadLetterFilter
    {
        var filter = DeadLetterFilter()
        filter.requests = Set((requests + more).map { RequestID($0)?.description ?? $0.lowercased() })
        for name in org { filter.orgs.formUnion(try settings.orgs(named: name).map { names.shown($0.id.description) }) }
        filter.outcomes = Set(outcome)
        filter.reasons = Set(failure)
        filter.before = try olderThan.map { try Self.moment($0, "--older-than", before: now) }
        filter.after = try newerThan.map { try Self.moment($0, "--newer-than", before: now) }
        return filter
    }

    /// Reads a moment, or how long before `now` it was.
    static func moment(_ text: String, _ option: String, before now: Timestamp) throws -> Timestamp {
        if let moment = Timestamp(rfc3339: text) { return moment }
        guard let age = Duration(settingText: text) else {
            throw ValidationError(
                "\(option) \(text): write a whole number with a unit (30m, 12h, 30d) or a moment (2026-03-01T12:00:00Z)"
            )
        }
        return now + (.zero - age)
    }
}

/// What every command about dead letters has.
struct DeadLetterOptions: ParsableArguments {
    @OptionGroup var settings: SettingsOptions

    @Flag(help: "Wait while another operator is at work, rather than fail.")
    var wait = false

    /// Looks at all dead letters. Ctrl-C ends it without a result, once all are back in their order.
    func look(
        _ settings: Settings, doing what: String, keepsBodies: Bool, started: (Int) -> Void = { _ in },
        _ take: ([DeadLetter]) throws -> Void
    ) async throws -> HeldQueue.Look {
        let look = try await withInterruption { interruption in
            try await withSession(settings, doing: what, interruption) { session in
                try await session.deadLetters.look(
                    keepsBodies: keepsBodies, started: started, shouldStop: { interruption.isAsked }
                ) { deliveries in
                    try take(deliveries.map { DeadLetter($0) })
                    return []
                }
            }
        }
        try look.report()
        return look
    }

    /// Does something with the dead letters while nobody else does, and says in the user's words what stands in the way.
    func withSession<Value>(
        _ settings: Settings, doing what: String, _ interruption: Interruption,
        _ body: (OperatorSession) async throws -> Value
    ) async throws -> Value {
        let place = try settings.deadLetterPlace
        let now = StoreClock.system.now().rfc3339
        do {
            return try await OperatorSession.with(
                place, who: "\(Operator.name()), \(what) since \(now)", waits: wait,
                waiting: { say("\($0); waiting") }, shouldStop: { interruption.isAsked }, body)
        } catch let error as OperatorError {
            var text = "\(error)"
            if case .busy = error { text += "; wait for it with --wait" }
            throw CommandFailure.failed(text)
        } catch AMQPError.unreadable {
            throw CommandFailure.failed(
                "queue '\(place.deadLetterQueue)' holds a message whose properties cannot be read; take it away with "
                    + "another tool (it is the oldest that no listing shows)")
        } catch let error as AMQPError {
            throw CommandFailure.failed("cannot work on queue '\(place.deadLetterQueue)': \(error)")
        }
    }
}

extension Settings {
    var deadLetterPlace: DeadLetterPlace {
        get throws {
            DeadLetterPlace(
                configuration: try brokerConfiguration("dead-letters"), deadLetterQueue: answers.deadLetterQueue,
                replayQueue: commands.replayQueue, resultsQueue: answers.queue, auditQueue: deadLetters.auditQueue,
                confirmTimeout: answers.confirmTimeout)
        }
    }

    var orgNames: OrgNames {
        OrgNames(
            orgs.map { ($0.id, $0.alias) } + misconfigured.compactMap { org in org.id.map { ($0, org.alias) } })
    }
}

extension HeldQueue.Look {
    /// Says what was not looked at.
    ///
    /// - Throws: ``CommandFailure`` where it was asked to stop.
    func report() throws {
        if isStopped { throw CommandFailure.failed("interrupted at \(seen) of \(expected)") }
        if isShared { say("somebody else reads them as well, and may have held some that were not looked at") }
        guard isCut else { return }
        say("there are \(expected); only the \(seen) oldest were looked at, more cannot be held at a time")
    }
}
