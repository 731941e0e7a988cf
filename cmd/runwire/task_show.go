package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// showTask writes what is known of a task, and its answer below.
func showTask(w io.Writer, task *agentv1.Task) error {
	result := task.GetResult()
	facts := newTable(w)
	facts.fact("task", task.GetTaskId())
	facts.fact("status", describeStatus(task))
	facts.fact("agent", task.GetAgent())
	facts.fact("user", task.GetUserId())
	facts.fact("session", task.GetSessionId())
	facts.fact("message", task.GetMessage())
	facts.fact("priority", enumName(task.GetPriority(), "TASK_PRIORITY_"))
	facts.fact("labels", describeLabels(task.GetLabels()))
	facts.fact("created", instant(task.GetCreateTime()))
	if task.GetRunAfter().AsTime().After(task.GetCreateTime().AsTime()) {
		facts.fact("due", instant(task.GetRunAfter()))
	}
	facts.fact("started", instant(task.GetStartTime()))
	facts.fact("finished", instant(task.GetFinishTime()))
	if task.GetAttempt() > 1 {
		facts.fact("attempt", strconv.FormatInt(task.GetAttempt(), 10))
	}
	facts.fact("sequence", strconv.FormatInt(task.GetLastSequence(), 10))
	facts.fact("error", task.GetError())
	for _, call := range task.GetPendingApprovals() {
		facts.fact("waits for", describePending(call))
	}
	for _, delivery := range task.GetWebhookDeliveries() {
		facts.fact("webhook", describeDelivery(delivery))
	}
	if result != nil {
		facts.fact("run", describeResult(result))
	}
	if err := facts.flush(); err != nil || result.GetContent() == "" {
		return err
	}
	answer := voice{w: w, clean: isTerminal(w)}
	defer answer.endLine()
	return answer.say("\n" + result.GetContent())
}

func describeStatus(task *agentv1.Task) string {
	if task.GetCancelRequested() && !hasEnded(task) {
		return taskStatus(task) + ", being cancelled"
	}
	return taskStatus(task)
}

func describeLabels(labels map[string]string) string {
	pairs := make([]string, 0, len(labels))
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, name+"="+labels[name])
	}
	return strings.Join(pairs, " ")
}

func describeDelivery(d *agentv1.WebhookDelivery) string {
	said := fmt.Sprintf("%s %s, try %d", d.GetUrl(), enumName(d.GetStatus(), "WEBHOOK_DELIVERY_STATUS_"), d.GetAttempt())
	if d.GetLastError() != "" {
		said += ": " + d.GetLastError()
	}
	if d.GetNextTime() != nil {
		said += ", next " + instant(d.GetNextTime())
	}
	return said
}

// taskStatus is where a task stands, in a word.
func taskStatus(task *agentv1.Task) string { return enumName(task.GetStatus(), "TASK_STATUS_") }

// hasEnded says whether a task never changes again.
func hasEnded(task *agentv1.Task) bool {
	switch task.GetStatus() {
	case agentv1.TaskStatus_TASK_STATUS_COMPLETED, agentv1.TaskStatus_TASK_STATUS_FAILED,
		agentv1.TaskStatus_TASK_STATUS_CANCELLED:
		return true
	default:
		return false
	}
}
