// `route-worker pause`, `resume`, `mode` and `controls`: what the whole fleet does with an org's commands.

import ArgumentParser
import DeadLetters
import FleetControls
import IdempotencyStore
import WorkerSettings

/// What every command that changes a control has.
struct ControlOptions: ParsableArguments {
    @OptionGroup var settings: SettingsOptions

    @Option(help: ArgumentHelp("Alias or id of the one org; without it, all.", valueName: "org"))
    var org: String?

    @Option(help: ArgumentHelp("Why: shown by `controls` and in the workers' logs.", valueName: "text"))
    var reason: String?

    func validate() throws {
        guard let reason else { return }
        guard !reason.isEmpty, reason.utf8.count <= ControlNote.longestReason else {
            throw ValidationError("--reason has 1 to \(ControlNote.longestReason) bytes")
        }
    }

    /// Makes a change and prints what holds then.
    func change(_ change: ControlChange) async throws {
        let settings = try settings.load(for: .tools)
        let desk = try ControlsDesk(settings)
        let org = try org.map { try settings.orgs(named: $0)[0] }
        let note = ControlNote(since: StoreClock.system.now(), by: Operator.name(), reason: reason)
        let (state, hasChanged) = try await desk.change(change, for: org, note) { admin in
            guard case .mode(.passthrough(let queue)) = change else { return }
            guard !settings.decodingRules.isOwn(queue) else {
                throw CommandFailure(
                    description: "--to \(queue): that is one of the worker's own queues; name another consumer's",
                    exitCode: ExitStatus.usage)
            }
            guard try await admin.queue(queue) != nil else {
                throw CommandFailure.failed("--to \(queue): there is no such queue; create it first")
            }
        }
        if !hasChanged { say("nothing was changed: it holds already") }
        print(ControlsListing(state: state, names: settings.orgNames).text)
    }
}

struct PauseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause",
        abstract: "Stops calls for one org, or for all, in the whole fleet.",
        discussion: """
            Calls under way finish. Commands wait in the org's parking queue, in order, also over restarts; those whose deadline \
            passes are answered `expired`. A pause of all pauses every org, also those that come later.

            EXAMPLES
              route-worker pause -c worker.yaml --org acme --reason "their change of 20:00"
              route-worker pause -c worker.yaml --reason "incident 4711"
            """)

    @OptionGroup var options: ControlOptions

    func run() async throws { try await options.change(.pause) }
}

struct ResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Ends a pause.",
        discussion: """
            What waits is called for first, in order, after a probe has found the org well. Of a pause of all, --org excepts one \
            org; without --org it ends the pause of all, and orgs that were paused by name stay so.

            EXAMPLES
              route-worker resume -c worker.yaml --org acme
              route-worker resume -c worker.yaml --reason "incident 4711 is over"
            """)

    @OptionGroup var options: ControlOptions

    func run() async throws { try await options.change(.resume) }
}

struct ModeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mode",
        abstract: "Says what the fleet does with commands: call for them, discard them, or hand them on.",
        discussion: """
            live         they are called for and answered
            shadow       they are read and DISCARDED: no call, no answer, no dead letter
            passthrough  they go on to another consumer's queue (--to), as they came, in order

            Holds until it is said otherwise, also over restarts; what was said of an org by name is not changed by what is said \
            of all. Calls under way finish, and commands that wait, also for another attempt, obey what holds when their turn \
            comes: `pause` first where none may be between two consumers. Asks before shadow, unless --yes.

            EXAMPLES
              route-worker mode shadow -c worker.yaml --org acme --reason "trial"
              route-worker mode passthrough --to legacy.commands -c worker.yaml \\
                --org acme --reason "roll back"
              route-worker mode live -c worker.yaml --org acme --reason "cut over"
            """)

    @OptionGroup var options: ControlOptions

    @Argument(help: ArgumentHelp("live, shadow or passthrough.", valueName: "mode"))
    var mode: String

    @Option(help: ArgumentHelp("For passthrough: the queue of another consumer.", valueName: "queue"))
    var to: String?

    @Flag(help: "Do not ask before shadow.")
    var yes = false

    func validate() throws {
        if try parsed() == .shadow { try Confirmation.validate(yes) }
    }

    private func parsed() throws -> ControlMode {
        if let mode = ControlMode(named: mode, to: to) { return mode }
        switch mode {
        case "passthrough": throw ValidationError("passthrough needs --to with the name of a queue, 1 to 255 bytes")
        case "live", "shadow": throw ValidationError("--to goes with passthrough alone")
        default: throw ValidationError("'\(mode)' is no mode: write live, shadow or passthrough")
        }
    }

    func run() async throws {
        let mode = try parsed()
        if mode == .shadow, !yes {
            let whose = options.org.map { "Commands of \($0)" } ?? "Commands of ALL orgs"
            guard Confirmation.isGiven(to: "\(whose) will be discarded, neither called for nor answered. Go on?") else {
                throw CommandFailure.failed("nothing was changed")
            }
        }
        try await options.change(.mode(mode))
    }
}

struct ControlsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "controls",
        abstract: "Shows what holds by `pause` and `mode`: since when, by whom, and why.",
        discussion: """
            EXAMPLES
              route-worker controls -c worker.yaml
              route-worker controls -c worker.yaml --json      as every worker reads it
            """)

    @OptionGroup var options: SettingsOptions

    @Flag(help: "As JSON, with the orgs' ids.")
    var json = false

    func run() async throws {
        let settings = try options.load(for: .tools)
        let state = try await ControlsDesk(settings).read()
        if json { return print(String(decoding: state.json, as: UTF8.self)) }
        print(ControlsListing(state: state, names: settings.orgNames).text)
    }
}
