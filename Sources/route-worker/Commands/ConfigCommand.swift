// `route-worker config`: what can be configured.

import ArgumentParser
import WorkerSettings

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Prints an example configuration, or every setting with its default; validates a configuration.",
        discussion: """
            EXAMPLES
              route-worker config validate -c worker.yaml
              route-worker config example > worker.yaml
              route-worker config reference
              route-worker config environment
            """,
        subcommands: [Example.self, Reference.self, Environment.self, Validate.self])

    struct Example: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints a commented configuration file to start from.",
            discussion: "EXAMPLES\n  route-worker config example > worker.yaml")

        func run() { print(Settings.example) }
    }

    struct Reference: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints every setting with its values, default and environment variable, as a Markdown table.",
            discussion: "EXAMPLES\n  route-worker config reference")

        func run() { print(SettingsReference.markdown(), terminator: "") }
    }

    struct Environment: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints the environment variables that are read.",
            discussion: "EXAMPLES\n  route-worker config environment")

        func run() { print(SettingsReference.environmentHelp()) }
    }

    struct Validate: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Reads the configuration and the folder of orgs as a worker does, and connects to nothing.",
            discussion: """
                Says all that is wrong, with file and line. Exits with 78 when something is, be it one org's file alone. \
                Files of tokens, keys and certificates are not opened: `check` tries them, with all that is connected to.

                EXAMPLES
                  route-worker config validate -c worker.yaml
                """)

        @OptionGroup var options: SettingsOptions

        func run() throws {
            let settings = try options.load(for: .worker)
            let problems = settings.misconfigured.flatMap(\.problems)
            guard problems.isEmpty else {
                throw CommandFailure.configuration(problems.map(\.description).joined(separator: "\n"))
            }
            print("valid: \(settings.summary); whether tokens, broker and store work is for `route-worker check`")
        }
    }
}
