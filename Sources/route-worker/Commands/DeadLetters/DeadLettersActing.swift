// `dead-letters replay` and `discard`: what they take away is confirmed elsewhere first.

import AMQPMessage
import ArgumentParser
import DeadLetters
import Foundation
import IdempotencyStore
import RoutingContract
import WorkerSettings

/// Which dead letters something is done with: never all of them by oversight.
struct DeadLetterSelection: ParsableArguments {
    @Argument(help: ArgumentHelp("RequestIds.", valueName: "request-id"))
    var requestIDs: [String] = []

    @OptionGroup(title: "Which") var filters: DeadLetterFilterOptions

    @Flag(help: "All dead letters.")
    var all = false

    @Option(help: ArgumentHelp("No more than so many, from the oldest on.", valueName: "count"))
    var limit: Int?

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit is a number above 0") }
    }

    var isEmpty: Bool { requestIDs.isEmpty && filters.isEmpty }
    var namesRequests: Bool { !requestIDs.isEmpty || !filters.requests.isEmpty }

    /// - Parameter isNarrowed: whether something beside these options narrows it.
    func check(isNarrowed: Bool = false) throws {
        guard isEmpty == false || isNarrowed || all else {
            throw ValidationError("say which: RequestIds, conditions such as --org or --older-than, or --all")
        }
        guard !all || (isEmpty && !isNarrowed) else {
            throw ValidationError("--all and conditions exclude each other")
        }
    }
}

extension DeadLettersCommand {
    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Calls for failed commands once more, through the replay queue.",
            discussion: """
                Each goes to commands.replayQueue as it was, under its RequestId, with a replay count one above; a worker calls \
                for it once, however often it is replayed under that count. Left as they are: those whose deadline has passed, \
                unless --deadline gives a new one; those of unknown outcome, or issued longer ago than store.retention, unless \
                --accept-duplicate accepts a possible second effect; and those that would end invalid again.

                Can be interrupted (Ctrl-C) and killed at any moment, and run again. Exits with 1 when any was left.

                EXAMPLES
                  route-worker dead-letters replay -c worker.yaml --org acme \\
                    --outcome exhausted --dry-run
                  route-worker dead-letters replay -c worker.yaml --org acme \\
                    --outcome exhausted
                  route-worker dead-letters replay -c worker.yaml --outcome expired \\
                    --newer-than 10m --deadline 30s
                  route-worker dead-letters replay -c worker.yaml 7e0a3c52-… --accept-duplicate
                """)

        @OptionGroup var options: DeadLetterOptions
        @OptionGroup var selection: DeadLetterSelection

        @Option(
            help: ArgumentHelp(
                "A new deadline: so long after the replay (30s) or a moment (RFC 3339).", valueName: "time"))
        var deadline: String?

        @Flag(help: "Accept that a command takes effect twice.")
        var acceptDuplicate = false

        @Flag(help: "Only say what would be done.")
        var dryRun = false

        @Option(help: ArgumentHelp("Why, for the trail.", valueName: "text"))
        var reason: String?

        func validate() throws {
            try selection.check()
            _ = try deadlineRule()
        }

        /// A moment, or a time after each replay.
        private func deadlineRule() throws -> (@Sendable (Timestamp) -> Timestamp)? {
            guard let deadline else { return nil }
            if let moment = Timestamp(rfc3339: deadline) {
                guard moment > StoreClock.system.now() else {
                    throw ValidationError("--deadline \(deadline) has passed")
                }
                return { _ in moment }
            }
            guard let time = Duration(settingText: deadline), time > .zero else {
                throw ValidationError(
                    "--deadline \(deadline): write how long after the replay (30s, 5m) or a moment (2026-03-01T12:00:00Z)"
                )
            }
            return { $0 + time }
        }

        func run() async throws {
            let settings = try options.settings.load(for: .tools)
            let (queue, decoder) = settings.replayDecoding
            let (by, target) = (Operator.name(), settings.commands.replayQueue)
            let newDeadline = try deadlineRule()
            try await OperatorPass(
                options: options, selection: selection, words: OperatorReport.replay, isDry: dryRun
            ).run(settings, doing: "dead-letters replay") { [acceptDuplicate, reason] letter throws(OperatorError) in
                let now = StoreClock.system.now()
                let terms = ReplayTerms(deadline: newDeadline?(now), acceptsDuplicate: acceptDuplicate)
                do throws(ReplayRefusal) {
                    let message = try letter.replay(
                        terms, decoder: decoder, queue: queue, routingKey: target, now: now)
                    return OperatorRun.Step(
                        message: OutgoingMessage(message, routingKey: target),
                        trail: TrailEntry(
                            .replay, letter, at: now, by: by, reason: reason, replay: letter.replay + 1, terms: terms))
                } catch {
                    throw .refused(error.words)
                }
            }
        }
    }

    struct Discard: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Takes dead letters away for good; only the trail remembers them.",
            discussion: """
                Export them first where they may be needed. Asks before it does so, unless --yes. --overdue means what is older \
                than deadLetters.maximumAge: run it once a day with --yes --wait, as deploy/systemd and deploy/kubernetes do.

                EXAMPLES
                  route-worker dead-letters discard -c worker.yaml --older-than 30d \\
                    --reason "too old" --dry-run
                  route-worker dead-letters discard -c worker.yaml 7e0a3c52-… \\
                    --reason "customer has left"
                  route-worker dead-letters discard -c worker.yaml --overdue \\
                    --reason "maximum age" --yes --wait
                """)

        @OptionGroup var options: DeadLetterOptions
        @OptionGroup var selection: DeadLetterSelection

        @Option(help: ArgumentHelp("Why, for the trail.", valueName: "text"))
        var reason: String

        @Flag(help: "Those older than deadLetters.maximumAge.")
        var overdue = false

        @Flag(help: "Only say what would be done.")
        var dryRun = false

        @Flag(help: "Do not ask.")
        var yes = false

        func validate() throws {
            guard !reason.isEmpty else { throw ValidationError("--reason must not be empty") }
            guard !(overdue && selection.filters.olderThan != nil) else {
                throw ValidationError("--overdue and --older-than exclude each other")
            }
            try selection.check(isNarrowed: overdue)
            try Confirmation.validate(yes || dryRun, instead: "--yes, or --dry-run")
        }

        func run() async throws {
            let settings = try options.settings.load(for: .tools)
            var before: Timestamp?
            if overdue {
                guard let age = settings.deadLetters.maximumAge else {
                    throw CommandFailure.configuration("--overdue needs deadLetters.maximumAge in the configuration")
                }
                before = StoreClock.system.now() + (.zero - age)
            }
            let by = Operator.name()
            try await OperatorPass(
                options: options, selection: selection, words: OperatorReport.discard, isDry: dryRun, before: before,
                keepsBodies: false, asksFirst: !yes
            ).run(settings, doing: "dead-letters discard") { [reason] letter throws(OperatorError) in
                OperatorRun.Step(
                    trail: TrailEntry(.discard, letter, at: StoreClock.system.now(), by: by, reason: reason))
            }
        }
    }
}

/// One pass of a command over the dead letters: progress, Ctrl-C, summary, exit code.
struct OperatorPass {
    let options: DeadLetterOptions
    let selection: DeadLetterSelection
    let words: OperatorReport.Words
    let isDry: Bool
    /// A further condition: dead-lettered before.
    var before: Timestamp?
    /// Whether the plan needs bodies.
    var keepsBodies = true
    /// Whether to ask on the terminal, with the count, before anything is changed.
    var asksFirst = false

    func run(
        _ settings: Settings, doing what: String,
        plan: @escaping @Sendable (DeadLetter) throws(OperatorError) -> OperatorRun.Step
    ) async throws {
        let names = settings.orgNames
        var filter = try selection.filters.filter(
            settings, names, requests: selection.requestIDs, now: StoreClock.system.now())
        if let before { filter.before = before }
        let outcome = try await withInterruption { interruption in
            try await options.withSession(settings, doing: what, interruption) { session -> OperatorReport? in
                var limit = selection.limit ?? .max
                func run(isDry: Bool) -> OperatorRun {
                    OperatorRun(
                        session, limit: limit, keepsBodies: keepsBodies, isDry: isDry,
                        isMeant: { [filter] in filter.matches($0, names) }, plan: plan)
                }
                if asksFirst, !isDry {
                    let dry = try await run(isDry: true).run(shouldStop: { interruption.isAsked })
                    if interruption.isAsked { return nil }
                    guard dry.done > 0 else {
                        return OperatorReport(report: dry, words: words, isDry: false, isInterrupted: false)
                    }
                    let question = "\(words.done.dropLast(2)) \(dry.done) dead letters?"
                    guard interruption.whileIdle({ Confirmation.isGiven(to: question) }) else { return nil }
                    // They are the oldest; what has come since stands behind them, and was not asked about.
                    limit = dry.done
                }
                return try await run(isDry: isDry).shown(words, isDry: isDry, interruption)
            }
        }
        guard let outcome else { throw CommandFailure.failed("nothing was changed") }
        print(outcome.text)
        if selection.namesRequests, outcome.report.matched == 0 {
            throw CommandFailure.failed("no dead letter matches")
        }
        guard outcome.isWell else { throw ExitCode(ExitStatus.failed) }
    }
}

extension OperatorRun {
    /// Runs it with a progress bar until it ends or somebody asks to stop.
    func shown(_ words: OperatorReport.Words, isDry: Bool, _ interruption: Interruption) async throws
        -> OperatorReport
    {
        var bar: ProgressBar?
        let report = try await run(
            progress: { seen, total, done in
                if bar == nil { bar = ProgressBar("looked at", total: total) }
                bar?.update(seen, note: "\(isDry ? words.wouldBeDone : words.done) \(done)")
            }, shouldStop: { interruption.isAsked })
        bar?.finish(report.look.seen)
        return OperatorReport(report: report, words: words, isDry: isDry, isInterrupted: interruption.isAsked)
    }
}

extension Settings {
    /// How workers read what is in the replay queue.
    var replayDecoding: (queue: QueueDefaults, decoder: CommandDecoder) {
        let queue = consumedQueues.first { $0.name == commands.replayQueue }
        return (
            queue.map(decodingDefaults) ?? QueueDefaults(honoursReplay: true),
            CommandDecoder(rules: decodingRules, orgs: orgDirectory)
        )
    }
}
