// The command line: which commands there are, and what their ends mean to a shell.

import ArgumentParser
import Foundation
import WorkerLog

@main
struct RouteWorkerCommand: AsyncParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "route-worker",
        abstract: "Routes conversations into Salesforce: RabbitMQ commands in, Interaction Service API calls out.",
        discussion: """
            Exit codes: 0 done, 1 failed, 2 usage, 78 configuration.

            EXAMPLES
              route-worker sandbox                         stands in for Salesforce
              route-worker topology declare -c worker.yaml
              route-worker check -c worker.yaml            is all there and reachable?
              route-worker run -c worker.yaml
              route-worker explain -c worker.yaml 7e0a…    what became of it?
              route-worker dead-letters list -c worker.yaml --group
              route-worker pause -c worker.yaml --org acme --reason "their change"
              route-worker send -c worker.yaml --org acme --conversation 7b0c… --wait
              source <(route-worker --generate-completion-script bash)   or zsh, fish
            """,
        version: version,
        subcommands: [
            RunCommand.self, SendCommand.self, SandboxCommand.self, TopologyCommand.self, CheckCommand.self,
            ExplainCommand.self, DeadLettersCommand.self, PauseCommand.self, ResumeCommand.self, ModeCommand.self,
            ControlsCommand.self, ForgetCommand.self, ConfigCommand.self, VersionCommand.self,
        ])

    /// ArgumentParser would end with 64 on a usage error; the project's contract says 2.
    static func main() async {
        StandardStreams.reserve()
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            try StandardStreams.finishOutput()
        } catch let failure as CommandFailure {
            say(failure.description)
            Foundation.exit(failure.exitCode)
        } catch {
            let code = exitCode(for: error)
            let text = fullMessage(for: error)
            // An exit code alone ends what has said everything.
            if code == .success { print(text) } else if !text.isEmpty { say(text) }
            Foundation.exit(code == .validationFailure ? ExitStatus.usage : code.rawValue)
        }
    }
}

/// What a command ends with, beside 0.
enum ExitStatus {
    static let failed: Int32 = 1
    static let usage: Int32 = 2
    /// `EX_CONFIG` of sysexits.h.
    static let configuration: Int32 = 78
    /// A second signal while draining; 128 plus the signal's number is what a shell reports for it.
    static func signal(_ number: Int32) -> Int32 { 128 + number }
}

/// An end that the user is told about.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String
    let exitCode: Int32

    static func failed(_ text: String) -> CommandFailure {
        CommandFailure(description: text, exitCode: ExitStatus.failed)
    }

    static func configuration(_ text: String) -> CommandFailure {
        CommandFailure(description: text, exitCode: ExitStatus.configuration)
    }
}

/// Tells the user something on standard error; standard output is for results. Goes on where nobody takes it.
func say(_ text: String, terminator: String = "\n") {
    LogWriter.standardError.write(Array((text + terminator).utf8), isUrgent: true)
    // Who reads results on standard output expects what was said before them.
    LogWriter.standardError.flush(within: .seconds(1))
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Prints the version.",
        discussion: "EXAMPLES\n  route-worker version")

    func run() {
        print("route-worker \(RouteWorkerCommand.version)")
    }
}
