// `dead-letters list`, `show` and `export`: they only look.

import ArgumentParser
import DeadLetters
import Foundation
import IdempotencyStore
import RoutingContract
import WorkerSettings

extension DeadLettersCommand {
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Lists dead letters, the oldest first, or counts them by what they have in common.",
            discussion: """
                EXAMPLES
                  route-worker dead-letters list -c worker.yaml
                  route-worker dead-letters list -c worker.yaml --group
                  route-worker dead-letters list -c worker.yaml --org acme \\
                    --outcome unknown --newer-than 2h --json
                """)

        @OptionGroup var options: DeadLetterOptions
        @OptionGroup(title: "Which") var filters: DeadLetterFilterOptions

        @Option(
            parsing: .singleValue, help: ArgumentHelp("The same as --failure.", valueName: "reason"))
        var reason: [String] = []

        @Flag(help: "Count them by outcome, reason and org.")
        var group = false

        @Flag(help: "As JSON, one object a line.")
        var json = false

        func run() async throws {
            let settings = try options.settings.load(for: .tools)
            let names = settings.orgNames
            let now = StoreClock.system.now()
            var filter = try filters.filter(settings, names, now: now)
            filter.reasons.formUnion(reason)
            var listing = DeadLetterListing(names, now: now, isGrouped: group, isJSON: json)
            let look = try await options.look(settings, doing: "dead-letters list", keepsBodies: false) { letters in
                for letter in letters where filter.matches(letter, names) { listing.add(letter) }
            }
            let text = listing.text
            if !text.isEmpty { print(text) }
            if !json { say(listing.summary(of: look.seen)) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows the dead letters of a RequestId: what they say, properties, headers and body.",
            discussion: """
                Exits with 1 when there is none. The body is personal data.

                EXAMPLES
                  route-worker dead-letters show -c worker.yaml 7e0a3c52-…
                  route-worker dead-letters show -c worker.yaml 7e0a3c52-… --json
                """)

        @OptionGroup var options: DeadLetterOptions

        @Argument(help: "The RequestId.")
        var requestID: String

        @Flag(help: "As JSON, one object for each.")
        var json = false

        func run() async throws {
            let settings = try options.settings.load(for: .tools)
            let names = settings.orgNames
            var filter = DeadLetterFilter()
            filter.requests = [RequestID(requestID)?.description ?? requestID.lowercased()]
            var found: [DeadLetter] = []
            let look = try await options.look(settings, doing: "dead-letters show", keepsBodies: true) { letters in
                found += letters.filter { filter.matches($0, names) }
            }
            if json {
                for letter in found { print(DeadLetterJSON.text(DeadLetterJSON.whole(letter, names), pretty: true)) }
            } else if !found.isEmpty {
                print(found.map { DeadLetterPage(letter: $0, names: names).text }.joined(separator: "\n\n"))
            }
            guard !found.isEmpty else {
                throw CommandFailure.failed("no dead letter of \(requestID) among \(look.seen)")
            }
        }
    }

    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Writes dead letters into a file, one JSON object a line, and leaves them where they are.",
            discussion: """
                All of each: what `list --json` prints, properties, headers, and the body as text (or `bodyBase64`, where it is \
                no UTF-8). The file can be read by its owner alone; it holds personal data. It is taken away again when the \
                export does not come to its end.

                EXAMPLES
                  route-worker dead-letters export -c worker.yaml --output letters.jsonl
                  route-worker dead-letters export -c worker.yaml --org acme \\
                    --newer-than 1d --output - | jq .error
                """)

        @OptionGroup var options: DeadLetterOptions
        @OptionGroup(title: "Which") var filters: DeadLetterFilterOptions

        @Option(
            parsing: .singleValue, help: ArgumentHelp("The same as --failure.", valueName: "reason"))
        var reason: [String] = []

        @Option(
            name: .shortAndLong,
            help: ArgumentHelp("The file, which must not exist; - is standard output.", valueName: "file"))
        var output: String

        func run() async throws {
            let settings = try options.settings.load(for: .tools)
            let names = settings.orgNames
            var filter = try filters.filter(settings, names, now: StoreClock.system.now())
            filter.reasons.formUnion(reason)
            let file = try openOutput()
            do {
                try await write(to: file, settings) { filter.matches($0, names) }
            } catch {
                if output != "-" { unlink(output) }
                throw error
            }
        }

        private func write(
            to file: FileHandle, _ settings: Settings, _ isMeant: (DeadLetter) -> Bool
        ) async throws {
            let names = settings.orgNames
            var count = 0
            var bar: ProgressBar?
            _ = try await options.look(
                settings, doing: "dead-letters export", keepsBodies: true,
                started: { bar = ProgressBar("exporting", total: $0) }
            ) { letters in
                for letter in letters where isMeant(letter) {
                    let line = DeadLetterJSON.text(DeadLetterJSON.whole(letter, names)) + "\n"
                    do {
                        try file.write(contentsOf: Data(line.utf8))
                    } catch {
                        throw CommandFailure.failed("cannot write \(output): \(fileTrouble(error))")
                    }
                    count += 1
                }
                bar?.update(count)
            }
            bar?.finish(count)
        }

        private func openOutput() throws -> FileHandle {
            if output == "-" { return .standardOutput }
            // Never over a file that is there, and for nobody else to read.
            let descriptor = open(output, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else {
                throw CommandFailure.failed("cannot write \(output): \(String(cString: strerror(errno)))")
            }
            return FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        }
    }
}
