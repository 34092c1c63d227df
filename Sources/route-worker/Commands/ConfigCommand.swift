// `route-worker config`: what can be configured.

import ArgumentParser
import WorkerSettings

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Prints an example configuration, or every setting with its default.",
        discussion: """
            EXAMPLES
              route-worker config example > worker.yaml
              route-worker config reference
              route-worker config environment
            """,
        subcommands: [Example.self, Reference.self, Environment.self])

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
}
