// The example file, defaults and the reference.

import Foundation
import RoutingContract
import Testing

@testable import WorkerSettings

@Suite struct ExampleTests {
    @Test func exampleLoads() throws {
        let settings = try load(Settings.example)
        #expect(settings.queues.map(\.name) == ["routing.commands", "routing.transfers"])
        #expect(settings.queues[1].concurrency == 8)
        #expect(settings.orgs.map(\.alias) == ["acme", "globex", "initech"])
        #expect(settings.orgs[0].callTimeout == .seconds(10))
        #expect(settings.orgs[1].callTimeout == .seconds(5))
        #expect(settings.orgs[1].maximumConcurrency == 16)
        #expect(settings.orgs[0].token == .file("/etc/route-worker/acme.token"))
        #expect(
            settings.orgs[2].token
                == .oauth(
                    Settings.OAuth(
                        tokenURL: "https://initech.my.salesforce.com/services/oauth2/token", clientID: "CONSUMER_KEY",
                        username: "routing@initech.example.com", audience: "https://login.salesforce.com",
                        keyFiles: ["/etc/route-worker/initech-new.key", "/etc/route-worker/initech.key"])))
        // With what `send --wait` needs.
        #expect(
            settings.answers.allowReplyTo == [
                .directReplyTo, .prefix("routing.replies."), .prefix("platform.replies."),
            ])
    }

    @Test func exampleLoadsWithEveryCommentedKeyTurnedOn() throws {
        let text = Settings.example.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            let isKey = line.firstMatch(of: #/^ +# [a-zA-Z]+: [^ ]/#) != nil
            return isKey ? String(line).replacing(#/# /#, with: "", maxReplacements: 1) : String(line)
        }.joined(separator: "\n")
        let settings = try load(text)
        #expect(settings.worker.name == "worker-1")
        #expect(settings.http.proxy?.secretValue == "http://proxy.example.com:3128")
        #expect(settings.queues[1].defaultOrg == "acme")
        #expect(settings.decodingDefaults(of: settings.queues[1]).allowedOrgs == ["acme"])
        #expect(settings.amqp.keyFile == "/etc/route-worker/client.key")
    }

    @Test func exampleShowsTheDefaults() throws {
        let example = try load(Settings.example)
        var plain = try load(minimal)
        plain.answers.allowReplyTo = example.answers.allowReplyTo
        plain.amqp.urls = example.amqp.urls
        #expect(example.worker == plain.worker)
        #expect(example.amqp == plain.amqp)
        #expect(example.answers == plain.answers)
        #expect(example.store == plain.store)
        #expect(example.commands == plain.commands)
        #expect(example.http == plain.http)
        #expect(example.admin == plain.admin)
        #expect(example.log == plain.log)
        #expect(example.orgs[0].retry == plain.orgs[0].retry)
        #expect(example.orgs[0].unknownEffect == plain.orgs[0].unknownEffect)
        #expect(example.orgs[0].bodyFormat == plain.orgs[0].bodyFormat)
        #expect(example.queues[0] == plain.queues[0])
    }

    @Test func exampleShowsEverySection() {
        for entry in SettingsReference.entries {
            let start = entry.path.count == 1 && entry.shape == .scalar ? "\n# " : "\n"
            #expect(Settings.example.contains("\(start)\(entry.path[0]):"))
        }
    }

    @Test func defaultsStandWithoutAFile() throws {
        let settings = try Settings.load(file: nil, environment: [:], purpose: .tools)
        #expect(settings.amqp.urls.map(\.secretValue) == ["amqp://guest:guest@127.0.0.1:5672/"])
        #expect(settings.queues.map(\.name) == ["routing.commands"])
        #expect(settings.queues[0].prefetch == 128)
        #expect(settings.worker.name.hasSuffix("-\(ProcessInfo.processInfo.processIdentifier)"))
        #expect(settings.store.location == .sqlite(path: "route-worker.db"))
        #expect(settings.orgs.isEmpty)
    }

    @Test func defaultsAreThoseOfTheContract() throws {
        let rules = try load(minimal).decodingRules
        let contract = DecodingRules()
        #expect(rules.maximumBodyBytes == contract.maximumBodyBytes)
        #expect(rules.maximumDepth == contract.maximumDepth)
        #expect(rules.futureTolerance == contract.futureTolerance)
        #expect(rules.retention == contract.retention)
        #expect(rules.transferDeadline == contract.transferDeadline)
        #expect(rules.resultsQueue == contract.resultsQueue)
        #expect(rules.replyAllowList == contract.replyAllowList + [.prefix("routing.replies.")])
        #expect(rules.honoursReplay == contract.honoursReplay)
        #expect(
            rules.reservedQueues == [
                "routing.commands", "routing.commands.replay", "routing.dead-letters", "routing.audit",
                "routing.controls",
            ])
    }

    @Test func replayCountsCountOnTheReplayQueueAlone() throws {
        let settings = try load(minimal + "commands: {replayQueue: again}\n")
        #expect(settings.consumedQueues.map(\.name) == ["routing.commands", "again"])
        #expect(settings.consumedQueues.map { settings.decodingDefaults(of: $0).honoursReplay } == [false, true])
        let listed = try load(minimal + "queues: {a: {}, b: {prefetch: 7}}\ncommands: {replayQueue: b}\n")
        #expect(listed.consumedQueues == listed.queues)
        #expect(listed.decodingDefaults(of: listed.queues[1]).honoursReplay)
    }

    @Test func orgsAreFoundByAliasAndId() throws {
        let directory = try load(minimal + "    validation: strict\n").orgDirectory
        #expect(directory.find("acme")?.validation == .strict)
        #expect(directory.find("00D000000000001AAA")?.alias == "acme")
    }

    @Test func everySettingIsDescribed() {
        let entries = SettingsReference.entries
        for entry in entries {
            #expect(!entry.summary.isEmpty, "\(entry.key)")
            #expect(entry.summary.hasSuffix("."), "\(entry.key)")
            #expect(!entry.values.isEmpty, "\(entry.key)")
            #expect(!(entry.summary + entry.values).contains("|"), "\(entry.key) would break the table")
        }
        #expect(Set(entries.map(\.path)).count == entries.count)
        let variables = entries.compactMap(\.environment)
        #expect(Set(variables).count == variables.count)
        for name in ["AMQP_URL", "STORE_URL", "LOG_LEVEL", "LOG_FORMAT", "WORKER_DRAIN_TIMEOUT", "AMQP_CA_FILE"] {
            #expect(variables.contains(name), "\(name)")
        }
        #expect(!variables.contains("HTTP_PROXY"))
    }

    @Test func referenceNamesEverySetting() {
        let table = SettingsReference.markdown()
        for entry in SettingsReference.entries {
            #expect(table.contains("`\(entry.key)`"), "\(entry.key)")
            if let variable = entry.environment { #expect(table.contains("`\(variable)`"), "\(variable)") }
        }
        let columns = Set(table.split(separator: "\n").map { $0.count { $0 == "|" } })
        #expect(columns == [6])
        #expect(SettingsReference.environmentHelp().contains("AMQP_URL "))
    }

    /// The table in the README stands between two marks and is replaced by what `SettingsReference.markdown()` gives.
    @Test func readmeHoldsTheReference() throws {
        let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        guard let readme = try? String(contentsOf: root.appending(path: "README.md"), encoding: .utf8),
            let start = readme.range(of: "<!-- settings:begin -->\n"),
            let end = readme.range(of: "<!-- settings:end -->")
        else { return }
        #expect(readme[start.upperBound..<end.lowerBound] == SettingsReference.markdown())
    }
}
