// `route-worker send`: commands to a worker, as a platform would send them.

import AMQP
import ArgumentParser
import CommandClient
import Foundation
import RoutingContract
import WorkerSettings

struct SendCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "send",
        abstract: "Publishes commands: one from flags, many from a file, or made-up ones.",
        discussion: """
            With --wait the answers are awaited on a reply queue and shown. Lines of a file are JSON objects:
              {"command": "route", "org": "acme", "requestId": "…",
               "payload": {"conversationIdentifier": "…", …}}
            with context, contextType, issuedAt, deadline, correlationId, replyTo where wanted; or, for anything else,
              {"raw": {"headers": {…}, "properties": {…}, "body": "…"}}

            EXAMPLES
              route-worker send -c worker.yaml --org acme --conversation 7b0c… --wait
              route-worker send -c worker.yaml --org acme --conversation 7b0c… \\
                --type Transfer --flow 300… --queue-id 00G… --attribute language=de --wait
              route-worker send -c worker.yaml --delete --org acme \\
                --conversation 7b0c… --wait
              route-worker send -c worker.yaml --file commands.jsonl --wait
              route-worker send -c worker.yaml --generate 5000 --duplicates 5 \\
                --malformed 2 --deletes 10 --wait
            """)

    @OptionGroup var options: SettingsOptions
    @OptionGroup(title: "One command") var single: SingleCommandOptions
    @OptionGroup(title: "Many commands") var many: ManyCommandsOptions

    @Option(
        help: ArgumentHelp(
            "The commands queue; by default the first of the configuration, or the exchange of its partitions.",
            valueName: "queue"))
    var to: String?

    @Flag(help: "Wait for the answers and show them.")
    var wait = false

    @Option(help: ArgumentHelp("Give up when nothing was answered for so long.", valueName: "seconds"))
    var patience: Double = 30

    @Option(help: ArgumentHelp("Show the effects that the sandbox at this URL has on its ledger.", valueName: "url"))
    var sandbox: String?

    @Flag(help: "Print answers as JSON lines, as they came.")
    var json = false

    func validate() throws {
        let forms = [single.conversation != nil, many.file != nil, many.generate != nil].filter { $0 }.count
        guard forms == 1 else {
            throw ValidationError("give one of --conversation, --file or --generate")
        }
        guard patience > 0, patience <= 86_400 else {
            throw ValidationError("--patience is a number of seconds above 0, 86400 at most")
        }
        if let count = many.generate, count < 1 { throw ValidationError("--generate takes a number above 0") }
        _ = try single.attributes()
    }

    func run() async throws {
        let settings = try options.load(for: .tools)
        let commands = try makeCommands(settings)
        if wait { try checkReplyQueue(settings) }
        let partitioned = to == nil ? settings.partitionedQueue : nil
        let sender = CommandSender(
            try settings.brokerConfiguration("send"), exchange: partitioned?.exchange ?? "",
            queue: to ?? settings.queues[0].name)
        let sent: [CommandSender.Sent]
        do {
            sent = try await send(partitioned == nil ? commands : commands.map(\.routedByConversation), with: sender)
        } catch let error as AMQPError {
            throw CommandFailure.failed("cannot send: \(error)")
        }
        let effects = try await sandbox.map { SandboxLedger(url: $0) }?.effects()
        let report = SendReport(
            sent, to: partitioned == nil ? to ?? settings.queues[0].name : nil, effects: effects, awaited: wait)
        if json { report.printAnswers() } else { print(report.text) }
        guard report.isComplete else { throw CommandFailure.failed(report.shortcomings) }
    }

    /// A worker would answer `invalid`, and not here.
    private func checkReplyQueue(_ settings: Settings) throws {
        guard !settings.decodingRules.allowsReply(to: CommandSender.replyQueuePrefix + "any") else { return }
        throw CommandFailure.configuration(
            "answers.allowReplyTo: --wait takes answers from \(CommandSender.replyQueuePrefix)…, which the configuration does "
                + "not allow; add \(CommandSender.replyQueuePrefix)*, also to the workers', or send without --wait")
    }

    private func send(_ commands: [CommandSpec], with sender: CommandSender) async throws -> [CommandSender.Sent] {
        let bar = ProgressReporter(wait ? "answered" : "sent", total: commands.count)
        let isWaiting = wait
        let sent = try await sender.send(commands, awaitingAnswers: wait ? .seconds(patience) : nil) { progress in
            bar.update(
                isWaiting ? progress.answered : progress.confirmed,
                note: isWaiting ? "(\(progress.confirmed) sent)" : "")
        }
        bar.finish(sent.count { isWaiting ? $0.answer != nil : $0.outcome == .confirmed })
        return sent
    }

    private func makeCommands(_ settings: Settings) throws -> [CommandSpec] {
        if let file = many.file { return try many.read(file) }
        if let count = many.generate {
            let orgs = settings.orgs.isEmpty ? [] : settings.orgs.map(\.alias)
            return try many.generate(count, orgs: single.org.map { [$0] } ?? orgs)
        }
        return [try single.command()]
    }
}

struct SingleCommandOptions: ParsableArguments {
    @Flag(help: "Clear the conversation's routing instead of routing it.")
    var delete = false

    @Option(help: ArgumentHelp("The conversation's identifier.", valueName: "id"))
    var conversation: String?

    @Option(help: ArgumentHelp("Alias or id of the org.", valueName: "org"))
    var org: String?

    @Option(help: ArgumentHelp("The RequestId; made up without it.", valueName: "uuid"))
    var requestID: String?

    @Option(help: "Initial, Transfer or Conference.")
    var type = "Initial"

    @Option(help: ArgumentHelp("Route by this flow; needs --queue-id as its fallback.", valueName: "id"))
    var flow: String?

    @Option(help: ArgumentHelp("Route to this queue, or the fallback of --flow.", valueName: "id"))
    var queueID: String?

    @Option(help: ArgumentHelp("A routing attribute of a flow; may be repeated.", valueName: "name=value"))
    var attribute: [String] = []

    @Option(help: ArgumentHelp("The AuthorizationContext.", valueName: "name"))
    var context: String?

    @Option(help: ArgumentHelp("The cancelReason of a delete.", valueName: "reason"))
    var cancelReason: String?

    func command() throws -> CommandSpec {
        var payload: [String: Any] = ["conversationIdentifier": conversation ?? ""]
        if delete {
            if let cancelReason { payload["cancelReason"] = cancelReason }
        } else {
            payload["routingType"] = type
            if let info = try routingInfo() { payload["routingInfo"] = info }
        }
        var generator = SystemRandomNumberGenerator()
        let body = try JSONSerialization.data(withJSONObject: payload, options: [.sortedKeys, .withoutEscapingSlashes])
        return CommandSpec(
            kind: delete ? "delete" : "route",
            requestID: requestID ?? RequestID.random(using: &generator).description, org: org, context: context,
            payload: Array(body))
    }

    func attributes() throws -> [String: String] {
        var attributes: [String: String] = [:]
        for assignment in attribute {
            guard let equals = assignment.firstIndex(of: "=") else {
                throw ValidationError("--attribute takes name=value, not '\(assignment)'")
            }
            attributes[String(assignment[..<equals])] = String(assignment[assignment.index(after: equals)...])
        }
        return attributes
    }

    private func routingInfo() throws -> [String: Any]? {
        let attributes = try attributes()
        var info: [String: Any] = [:]
        if let flow {
            info["flow"] = ["flowId": flow].merging(queueID.map { ["queueId": $0] } ?? [:]) { $1 }
        } else if let queueID {
            info["queueId"] = queueID
        }
        if !attributes.isEmpty { info["routingAttributes"] = attributes }
        return info.isEmpty ? nil : info
    }
}

struct ManyCommandsOptions: ParsableArguments {
    @Option(help: ArgumentHelp("A JSON Lines file of commands; - reads standard input.", valueName: "file"))
    var file: String?

    @Option(help: ArgumentHelp("Make up so many commands.", valueName: "n"))
    var generate: Int?

    @Option(help: ArgumentHelp("Percent of the made-up ones that were sent before.", valueName: "percent"))
    var duplicates: Double = 0

    @Option(help: ArgumentHelp("Percent of the made-up ones that are malformed.", valueName: "percent"))
    var malformed: Double = 0

    @Option(help: ArgumentHelp("Percent of the made-up ones that are deletes.", valueName: "percent"))
    var deletes: Double = 0

    @Option(help: "Seed of what is made up.")
    var seed: UInt64 = 1

    func read(_ file: String) throws -> [CommandSpec] {
        let data: Data
        do {
            data =
                try file == "-"
                ? FileHandle.standardInput.readToEnd() ?? Data() : Data(contentsOf: URL(fileURLWithPath: file))
        } catch {
            throw CommandFailure.failed("cannot read \(file): \(fileTrouble(error))")
        }
        var generator = SystemRandomNumberGenerator()
        var commands: [CommandSpec] = []
        for (index, line) in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let isBlank = line.allSatisfy {
                $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\r") || $0 == UInt8(ascii: "\t")
            }
            if isBlank { continue }
            do {
                commands.append(try CommandSpec(line: Array(line), using: &generator))
            } catch {
                throw CommandFailure.failed("\(file):\(index + 1): \(error)")
            }
        }
        guard !commands.isEmpty else { throw CommandFailure.failed("\(file) holds no command") }
        return commands
    }

    func generate(_ count: Int, orgs: [String]) throws -> [CommandSpec] {
        guard !orgs.isEmpty else {
            throw CommandFailure.configuration("--generate needs orgs: from the configuration, or --org")
        }
        var generator = CommandGenerator(
            seed: seed, orgs: orgs,
            mix: .init(duplicates: duplicates / 100, malformed: malformed / 100, deletes: deletes / 100))
        return (0..<count).map { _ in generator.next().0 }
    }
}
