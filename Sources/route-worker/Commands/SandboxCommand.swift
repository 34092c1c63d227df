// `route-worker sandbox`: a stand-in for Salesforce.

import ArgumentParser
import InteractionSandbox
import Logging
import ServiceLifecycle

struct SandboxCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sandbox",
        abstract: "Runs a stand-in for Salesforce's Interaction Service API, for trials and tests.",
        discussion: """
            Answers POST and DELETE /api/v1/route and POST /services/oauth2/token as the public reference says, keeps a
            ledger of every request and its effect (GET /sandbox/ledger, /sandbox/effects), and misbehaves on demand
            (POST /sandbox/faults, or --fault). GET / lists all of it. It has no access control: keep it on loopback.

            A fault is written what@rate: 503@2%, 429@x3 (the next three), latency=50-200, reset@1%,
            reset-after@1% (took effect, then the connection breaks), hang@x1.

            EXAMPLES
              route-worker sandbox
              route-worker sandbox --port 9000 --fault 503@2% --fault latency=20-80 --verbose
              curl -s localhost:8080/sandbox/effects
            """)

    @Option(help: "Address to listen on.")
    var host = "127.0.0.1"

    @Option(help: "Port to listen on; 0 takes a free one.")
    var port = 8080

    @Option(help: ArgumentHelp("A fault, written what@rate; may be repeated.", valueName: "fault"))
    var fault: [String] = []

    @Option(help: ArgumentHelp("Seconds after which a rep accepts the work; without it never.", valueName: "seconds"))
    var acceptedAfter: Double?

    @Option(help: ArgumentHelp("Requests a second and org before the rate limit answers.", valueName: "n"))
    var rateLimit: Int?

    @Option(
        help: ArgumentHelp(
            "The only bearer token that will do; may be repeated. Without it any will.", valueName: "token"))
    var token: [String] = []

    @Option(help: "Seed of everything drawn.")
    var seed: UInt64 = 1

    @Flag(help: "Log a line for every request.")
    var verbose = false

    @Option(help: ArgumentHelp("Written with the base URL when it listens.", valueName: "file"))
    var readyFile: String?

    func run() async throws {
        var settings = SandboxSettings()
        settings.host = host
        settings.port = port
        settings.acceptedAfter = acceptedAfter.map { .seconds($0) }
        settings.rateLimit = rateLimit
        settings.fixedTokens = Set(token)
        settings.acceptsAnyToken = token.isEmpty
        settings.seed = seed
        settings.isVerbose = verbose
        let logger = Logger(label: "sandbox") { LineLogHandler(label: $0, level: .info, format: .human) }
        let sandbox: Sandbox
        do {
            settings.faults = try fault.map { try Fault(shorthand: $0) }
            sandbox = try Sandbox(settings: settings, logger: logger)
        } catch let error as InvalidFault {
            throw ValidationError("--fault \(error)")
        }
        let readyFile = readyFile
        do {
            try await runServices([SandboxAnnouncer(sandbox: sandbox, readyFile: readyFile), sandbox], logger: logger)
        } catch let failure as CommandFailure {
            throw failure
        } catch {
            throw CommandFailure.failed("the sandbox cannot listen on \(host):\(port): \(error)")
        }
    }
}

/// Says where the sandbox listens, once it does.
private struct SandboxAnnouncer: Service {
    let sandbox: Sandbox
    let readyFile: String?

    func run() async throws {
        let url = try await sandbox.baseURL
        say("the sandbox listens on \(url); see \(url)/ for what it offers")
        try writeReadyFile(readyFile, url)
        try? await gracefulShutdown()
    }
}
