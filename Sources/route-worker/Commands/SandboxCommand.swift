// `route-worker sandbox`: a stand-in for Salesforce.

import ArgumentParser
import Foundation
import InteractionSandbox
import Logging
import LoopSupport
import NIOCore
import ServiceLifecycle
import WorkerLog

struct SandboxCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sandbox",
        abstract: "Runs a stand-in for Salesforce's Interaction Service API, for trials and tests.",
        discussion: """
            Answers POST and DELETE /api/v1/route and POST /services/oauth2/token as the public reference says, keeps \
            a ledger of every request and its effect (GET /sandbox/ledger, /sandbox/effects), and misbehaves on \
            demand (POST /sandbox/faults, or --fault). GET / lists all of it. It has no access control: keep it on \
            loopback.

            A fault is written what@rate: 503@2%, 429@x3 (the next three), latency=50-200, reset@1%, \
            reset-after@1% (takes effect, then the connection breaks), hang@x1. GET / lists them all.

            EXAMPLES
              route-worker sandbox
              route-worker sandbox --port 9000 --fault 503@2% --verbose
              route-worker sandbox --orgs orgs.json --accepted-after 30
              curl -s localhost:8080/sandbox/effects

            A file of orgs holds a JSON array; every member but id may be left out:
              [{"id": "00DSB0000000001", "contexts": ["Partner1_Channel1"],
                "queues": ["00GSB0000000001"], "readOnly": false,
                "hasPermissions": true, "hasScope": true,
                "supportsConference": true, "supportsCancelReason": true,
                "rateLimit": 2000, "consumerKey": "…", "username": "…",
                "publicKeys": ["-----BEGIN PUBLIC KEY-----…"]}]
            """)

    @Option(help: "Address to listen on.")
    var host = "127.0.0.1"

    @Option(help: "Port to listen on; 0 takes a free one.")
    var port: UInt16 = 8080

    @Option(
        help: ArgumentHelp("A fault, written what@rate; may be repeated.", valueName: "fault"), transform: Self.fault)
    var fault: [Fault] = []

    @Option(help: ArgumentHelp("The only orgs that are served, and their ways; see above.", valueName: "file"))
    var orgs: String?

    @Option(
        help: ArgumentHelp("Seconds after which a rep accepts the work; without it never.", valueName: "seconds"),
        transform: Self.seconds)
    var acceptedAfter: Duration?

    @Option(help: ArgumentHelp("Requests a second and org before the rate limit answers.", valueName: "n"))
    var rateLimit: Int?

    @Option(
        help: ArgumentHelp(
            "A bearer token that will do beside those issued here; may be repeated. Without it any will.",
            valueName: "token"))
    var token: [String] = []

    @Option(help: "Seed of everything drawn.")
    var seed: UInt64 = 1

    @Flag(help: "Log a line for every request.")
    var verbose = false

    @Option(help: ArgumentHelp("Written with the base URL when it listens.", valueName: "file"))
    var readyFile: String?

    private static func fault(_ text: String) throws -> Fault {
        do throws(InvalidFault) {
            return try Fault(shorthand: text)
        } catch {
            throw ValidationError(error.description)
        }
    }

    private static func seconds(_ text: String) throws -> Duration {
        guard let seconds = Double(text), (0...86_400).contains(seconds) else {
            throw ValidationError("a number of seconds is expected, 86400 at most")
        }
        return .seconds(seconds)
    }

    private static func readOrgs(_ path: String) throws -> [SandboxOrg] {
        do {
            return try SandboxOrg.parse(String(decoding: Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self))
        } catch let error as InvalidSandboxSettings {
            throw CommandFailure.configuration("\(path): \(error)")
        } catch {
            throw CommandFailure.failed("cannot read \(path): \(fileTrouble(error))")
        }
    }

    func run() async throws {
        var settings = SandboxSettings()
        settings.host = host
        settings.port = Int(port)
        settings.faults = fault
        settings.acceptedAfter = acceptedAfter
        settings.rateLimit = rateLimit
        settings.fixedTokens = Set(token)
        settings.acceptsAnyToken = token.isEmpty
        settings.seed = seed
        settings.isVerbose = verbose
        let logger = Logger(label: "sandbox") { LineLogHandler(LineLog(label: $0, format: .human)) }
        if let orgs {
            settings.orgs = try Self.readOrgs(orgs)
            settings.acceptsAnyOrg = false
        }
        let sandbox: Sandbox
        do {
            sandbox = try Sandbox(settings: settings, logger: logger)
        } catch {
            throw CommandFailure.configuration("\(error)")
        }
        let readyFile = readyFile
        do {
            try await runServices([SandboxAnnouncer(sandbox: sandbox, readyFile: readyFile), sandbox], logger: logger)
        } catch let failure as CommandFailure {
            throw failure
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw CommandFailure.failed("port \(port) of \(host) is in use; give another --port, or 0 for a free one")
        } catch {
            throw CommandFailure.failed(
                "the sandbox cannot listen on \(host):\(port): \(ConnectionTrouble.words(for: error))")
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
